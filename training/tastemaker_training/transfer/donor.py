"""What a new platform begins with: item vectors that somebody else's events made.

M items of theirs, D vector width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tastemaker import bundle, columns
from tastemaker.catalogue.tables import as_items
from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.interactions import Floats

VECTOR, POPULARITY = "vector", "popularity"
REMEDY = (
    "Give a Parquet file with the columns item_id and vector, an .npy file with --ids, or the directory of a bundle"
)


@dataclass(frozen=True)
class Donor:
    """Their items, and what was learned of them."""

    name: str
    items: pa.Table  # ITEM_SCHEMA, M rows
    vectors: Floats  # (M, D)
    popularity: Mapping[str, Any]  # a bundle's document over their codes
    same_ids: bool  # their ids are ours


def read(path: Path, ids: Path | None) -> Donor:
    """The donor at `path`: a bundle's directory, or a file of vectors.

    Args:
        ids: of an .npy file, the item id of each row, one a line.

    Raises:
        NotFound: there is nothing at `path`.
        InvalidInput: the file does not fit; the message names the row.
        BundleMismatch: see `bundle.read`.
    """
    if path.is_dir():
        return _of_bundle(path)
    for file in filter(None, (path, ids)):
        if not file.is_file():
            raise NotFound(f"there is no file {file}", REMEDY)
    if path.suffix == ".npy":
        return _of_arrays(path, ids)
    if path.suffix == ".parquet":
        return _of_parquet(path)
    raise InvalidInput(f"{path} is of no known kind", REMEDY)


def _of_bundle(path: Path) -> Donor:
    opened = bundle.read(path, only=("items", "item_vectors", "popularity"))
    vectors = np.array(opened.array("item_vectors"), dtype=np.float32)
    items = as_items(opened.table("items"))
    return Donor(str(path), items, _finite(path, vectors), opened.json("popularity"), same_ids=False)


def _of_arrays(path: Path, ids: Path | None) -> Donor:
    if ids is None:
        raise InvalidInput(f"{path} does not say whose vectors it holds", "Give --ids FILE, with one item id per line")
    try:
        vectors = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InvalidInput(f"{path} is not an array: {error}", REMEDY) from error
    names = ids.read_text().splitlines()
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.number):
        raise InvalidInput(f"{path} holds {vectors.dtype} of shape {vectors.shape}", "Expected numbers (items, width)")
    if len(names) != len(vectors):
        raise InvalidInput(f"{ids} has {len(names)} ids for the {len(vectors)} rows of {path}", "Give one a row")
    items = as_items(pa.table({columns.ITEM_ID: pa.array(names, pa.string())}))
    return Donor(
        str(path), _distinct(ids, items), _finite(path, vectors.astype(np.float32)), _ranking([]), same_ids=True
    )


def _of_parquet(path: Path) -> Donor:
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{path} is not Parquet: {' '.join(str(error).split())[:200]}", REMEDY) from error
    missing = [name for name in (columns.ITEM_ID, VECTOR) if name not in table.column_names]
    if missing:
        present = ", ".join(table.column_names)
        raise InvalidInput(f"{path} has no column {' and no column '.join(missing)}, but {present}", REMEDY)
    vectors = _matrix(path, table[VECTOR])
    order = []
    if POPULARITY in table.column_names:
        counts = pc.fill_null(table[POPULARITY].cast(pa.float64()), 0.0).to_numpy()
        order = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] > 0]
    return Donor(str(path), _distinct(path, as_items(table)), _finite(path, vectors), _ranking(order), same_ids=True)


def _matrix(path: Path, column: pa.ChunkedArray) -> Floats:
    """The lists of `column` as rows of one width."""
    lists = column.combine_chunks()
    kind = lists.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InvalidInput(f"{path}: the column {VECTOR} holds {kind}", "Expected lists of numbers")
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    width = int(sizes[0]) if len(sizes) else 0
    other = np.flatnonzero(sizes != width)
    if width == 0 or len(other):
        row = int(other[0]) if len(other) else 0
        raise InvalidInput(
            f"{path} row {row}: the vector has {sizes[row] if len(sizes) else 0} numbers, that of row 0 has {width}",
            "Every item needs a vector of one width, of one number at least",
        )
    numbers = pc.list_flatten(lists).cast(pa.float32()).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float32).reshape(len(sizes), width)


def _finite(path: Path, vectors: Floats) -> Floats:
    wrong = np.argwhere(~np.isfinite(vectors))
    if len(wrong):
        row, place = wrong[0].tolist()
        raise InvalidInput(f"{path} row {row}: number {place} of the vector is {vectors[row, place]}", "Correct it")
    return vectors


def _distinct(path: Path, items: pa.Table) -> pa.Table:
    first: dict[str, int] = {}
    for row, item in enumerate(items[columns.ITEM_ID].to_pylist()):
        if not item:
            raise InvalidInput(f"{path} row {row}: there is no {columns.ITEM_ID}", "Every row needs one")
        if first.setdefault(item, row) != row:
            raise InvalidInput(f"{path} row {row}: item {item!r} has row {first[item]}, too", "Leave one of them out")
    return items


def _ranking(codes: list[int]) -> dict[str, Any]:
    return {"overall": codes}
