"""Tables of labelled impressions as numbers: every value of every field is a row of one embedding table.

B impressions, F fields, V rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.interactions import Floats

SUFFIXES = (".csv", ".csv.gz", ".parquet")
STEMS = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
LABELS = ("label", "click", "clicked")
BUDGET = 1 << 20
"""Hashes of values, over all fields."""
RARE = 5
"""A value that the training table has less often is one of its field's rare ones, as is one that it never has."""
BATCH_ROWS = 1 << 16

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Impressions:
    """What was shown and whether it was clicked."""

    codes: Codes  # (B, F) rows of the embedding table
    labels: Floats  # (B,) 0 or 1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Tables:
    """The three tables, and the size V of the embedding table that they share."""

    train: Impressions
    valid: Impressions
    test: Impressions
    rows: int


def read(folder: Path) -> Tables:
    """The tables train, valid and test of `folder`: CSV, gzipped or not, or Parquet, streamed.

    The label is the column `label`, `click` or `clicked`, or else the first; all others are fields. Text and whole
    numbers are categories, other numbers categories by the square of their logarithm (Juan et al. 2016).

    Raises:
        NotFound: a table is missing. InvalidInput: a label is neither 0 nor 1, or the tables differ in their fields.
    """
    files = {name: _file(folder, name) for name in STEMS}
    label, *fields = _columns(files["train"])
    types = _types(files["train"])
    hashed = {name: _hashed(file, label, fields, types) for name, file in files.items()}
    rows = _table_rows(hashed["train"].codes, len(fields))
    known = {name: Impressions(rows[1][part.codes], part.labels) for name, part in hashed.items()}
    for part in known.values():
        rare = part.codes < 0
        part.codes[rare] = np.broadcast_to(np.arange(len(fields), dtype=np.int32), rare.shape)[rare]
    return Tables(known["train"], known["valid"], known["test"], rows[0])


def _table_rows(hashes: Codes, fields: int) -> tuple[int, Codes]:
    """How many rows the table needs, and the row of each hash (BUDGET,), -1 where rare; the first are for those."""
    often = np.bincount(hashes.ravel(), minlength=BUDGET) >= RARE
    rows = np.full(BUDGET, -1, dtype=np.int32)
    rows[often] = np.arange(fields, fields + int(often.sum()))
    return fields + int(often.sum()), rows


def _file(folder: Path, name: str) -> Path:
    for stem in STEMS[name]:
        for suffix in SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    raise NotFound(
        f"{folder} has no table {name!r}", f"Expected one of {', '.join(f'{name}{suffix}' for suffix in SUFFIXES)}"
    )


def _columns(file: Path) -> list[str]:
    """Names of the columns, the label first."""
    names = list(_schema(file).names)
    label = next((name for name in names if name.lower() in LABELS), names[0])
    return [label, *(name for name in names if name != label)]


def _schema(file: Path) -> pa.Schema:
    if file.suffix == ".parquet":
        return pq.read_schema(file)
    with pacsv.open_csv(file) as reader:
        return reader.schema


def _types(file: Path) -> dict[str, pa.DataType]:
    """What each column is, in every table: what the training table's first block shows to be a number with a fraction
    stays one; everything else is a name."""
    return {field.name: pa.float64() if pa.types.is_floating(field.type) else pa.string() for field in _schema(file)}


def _batches(file: Path, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    if file.suffix == ".parquet":
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=list(types)):
            yield batch.cast(pa.schema([(name, types[name]) for name in batch.schema.names]))
        return
    with pacsv.open_csv(file, convert_options=pacsv.ConvertOptions(column_types=types)) as reader:
        yield from reader


def _hashed(file: Path, label: str, fields: list[str], types: dict[str, pa.DataType]) -> Impressions:
    missing = {label, *fields} - set(_schema(file).names)
    if missing:
        raise InvalidInput(f"{file} lacks the columns {', '.join(sorted(missing))}", "Give all tables the same columns")
    codes, labels = [], []
    try:
        for batch in _batches(file, types):
            codes.append(np.stack([_hashes(batch[name], name) for name in fields], axis=1))
            labels.append(_labels(batch[label], file, label))
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{file}: {error}", "Give each column the kind of values that it has in train") from error
    if not labels:
        raise InvalidInput(f"{file} has no rows", "Give it some")
    return Impressions(np.concatenate(codes), np.concatenate(labels))


def _labels(column: pa.Array, file: Path, label: str) -> Floats:
    try:
        values = pc.cast(pc.cast(column, pa.string()), pa.float32())
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{file}: column {label!r}, taken for the label: {error}", "Give labels 0 and 1") from error
    numbers: Floats = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
    wrong = numbers[~np.isin(numbers, (0, 1))]
    if len(wrong):
        raise InvalidInput(f"{file}: column {label!r}, taken for the label, holds {wrong[0]}", "Give labels 0 and 1")
    return numbers


def _hashes(column: pa.Array, field: str) -> Codes:
    """Each value's place (B,) among `BUDGET`; a missing value is a value, and equal values of two fields differ."""
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False)
        column = pa.array(np.sign(numbers) * np.floor(np.log1p(np.abs(numbers)) ** 2))
    coded = pc.cast(column, pa.string()).fill_null("").dictionary_encode()
    names = np.asarray([f"{field}={value}" for value in coded.dictionary.to_pylist()], dtype=object)
    places = (pd.util.hash_array(names) % np.uint64(BUDGET)).astype(np.int32)
    return places[coded.indices.to_numpy(zero_copy_only=False)]  # type: ignore[no-any-return]
