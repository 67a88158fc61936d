"""Files under one fsspec URL, each of them whole or not there at all.

A file is written under a hidden name and then moved to its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import posixpath
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tastemaker.errors import InvalidInput, NotFound

GROUP_ROWS: Final = 2**17
"""Of one row group at most: what a reader decodes at once."""
BATCH_ROWS: Final = 2**16


class Files:
    """Parquet and JSON files by their names relative to the URL."""

    def __init__(self, url: str) -> None:
        """Open the lake at `url`, which need not exist yet.

        Raises:
            InvalidInput: no installed file system knows the URL's scheme.
        """
        try:
            self._fs, self._root = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidInput(
                f"lake URL {url!r} cannot be opened: {error}",
                "Use a directory, or install the file system of its scheme (s3fs for s3://, gcsfs for gs://)",
            ) from error
        self.url = url

    def exists(self, name: str) -> bool:
        """Whether the file `name` (relative to the lake) is there."""
        return bool(self._fs.isfile(f"{self._root}/{name}"))

    def read(
        self, name: str, remedy: str = "", wanted: ds.Expression | None = None, names: Sequence[str] | None = None
    ) -> pa.Table:
        """The columns `names` of those rows of the Parquet file `name` that are `wanted`; by default all.

        Raises:
            NotFound: it is not there; with `remedy`.
        """
        self._require(name, remedy)
        with self._fs.open(f"{self._root}/{name}", "rb") as stream:
            return pq.read_table(stream, columns=names, filters=wanted)

    def parts(
        self, name: str, names: Sequence[str] | None = None, wanted: ds.Expression | None = None, remedy: str = ""
    ) -> Iterator[pa.Table]:
        """Like `read`, with the columns `names` (all by default), some ten thousand rows at a time, in their order.

        Row groups that their statistics rule out are not read, of the others one is held.
        """
        self._require(name, remedy)
        with self._fs.open(f"{self._root}/{name}", "rb") as stream:
            # By default a scan would keep the bytes of the whole file, and read dozens of batches ahead.
            fragment = ds.ParquetFileFormat(pre_buffer=False).make_fragment(stream)
            for batch in fragment.to_batches(
                columns=None if names is None else list(names),
                filter=wanted,
                batch_size=BATCH_ROWS,
                batch_readahead=1,
                fragment_readahead=1,
            ):
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])

    def rows(self, name: str) -> int:
        """Rows of the Parquet file `name`, by its footer; 0 when it is not there."""
        if not self.exists(name):
            return 0
        with self._fs.open(f"{self._root}/{name}", "rb") as stream:
            return int(pq.read_metadata(stream).num_rows)

    def write(self, name: str, table: pa.Table) -> None:
        """Write `table` as the Parquet file `name`, whole or not at all; what was there is replaced."""
        self._replace(name, lambda stream: pq.write_table(table, stream, compression="zstd"))

    def write_all(self, name: str, tables: Iterable[pa.Table]) -> int:
        """Write `tables`, of which there is one at least, one after another as `write` does; returns their rows.

        A name that ends in .csv makes it a CSV file.
        """
        parts, rows = iter(tables), 0
        first = next(parts)

        def fill(stream: BinaryIO) -> None:
            nonlocal rows
            with _writer(name, stream, first.schema) as writer:
                for table in itertools.chain([first], parts):
                    writer.write_table(table, GROUP_ROWS)
                    rows += table.num_rows

        self._replace(name, fill)
        return rows

    def row_groups(self, name: str, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The columns `names` (all by default) of the Parquet file `name`, one row group after another."""
        with self._fs.open(f"{self._root}/{name}", "rb") as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, names)

    def holding(self, names: Sequence[str], column: str, values: pa.Array) -> list[str]:
        """Which of the Parquet files `names` have a row whose `column`, of strings, is one of `values`."""
        paths = [f"{self._root}/{name}" for name in names]
        schema = pa.schema([(column, pa.string())])
        source = ds.dataset(paths, schema=schema, format="parquet", filesystem=self._fs)
        found = source.to_table(columns=["__filename"], filter=ds.field(column).isin(values))
        hit = set(pc.unique(found["__filename"]).to_pylist())
        return [name for name, path in zip(names, paths, strict=True) if path in hit]

    def files(self, folder: str) -> list[str]:
        """Names of all files under `folder`, relative to the lake."""
        return sorted(path[len(self._root) + 1 :] for path in self._fs.find(f"{self._root}/{folder}"))

    def remove(self, name: str) -> None:
        """Delete the file `name`; one that is gone already is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(f"{self._root}/{name}")

    def read_json(self, name: str, remedy: str = "") -> Any:
        """The JSON document `name`. Raises NotFound, with `remedy`, when it is not there."""
        self._require(name, remedy)
        return json.loads(self._fs.cat_file(f"{self._root}/{name}"))

    def write_json(self, name: str, document: Any) -> None:
        """Write `document` as the JSON file `name`, whole or not at all."""
        self._replace(name, lambda stream: stream.write(json.dumps(document, indent=1).encode()))

    def locate(self, name: str) -> str:
        """Where the file `name` lies: an absolute path on the local file system, else a URL."""
        path = f"{self._root}/{name}"
        local = "file" in np.atleast_1d(self._fs.protocol)
        return path if local else str(self._fs.unstrip_protocol(path))

    def draft(self, name: str, table: pa.Table) -> None:
        """Write `table` where no reader sees it, for `publish`."""
        self._draft(_draft_of(name), lambda stream: pq.write_table(table, stream, compression="zstd"))

    def publish(self, name: str) -> None:
        """Show readers the drafted file `name`; one that is shown already stays so.

        Raises:
            NotFound: neither the draft nor the file is there.
        """
        try:
            self._fs.mv(f"{self._root}/{_draft_of(name)}", f"{self._root}/{name}")
        except FileNotFoundError:
            if not self.exists(name):
                raise NotFound(f"the lake at {self.url} has neither {name} nor its draft", "Restore it") from None

    def drop_draft(self, name: str) -> None:
        """Delete the draft of the file `name`."""
        self.remove(_draft_of(name))

    def _require(self, name: str, remedy: str) -> None:
        if not self.exists(name):
            raise NotFound(f"the lake at {self.url} has no {name}", remedy)

    def _replace(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        folder, file = posixpath.split(name)
        draft = f"{folder}/.{file}.{uuid.uuid4().hex[:8]}.draft"
        self._draft(draft, write)
        try:
            self._fs.mv(f"{self._root}/{draft}", f"{self._root}/{name}")
        except BaseException:
            self.remove(draft)
            raise

    def _draft(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        path = f"{self._root}/{name}"
        self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
        try:
            with self._fs.open(path, "wb") as stream:
                write(stream)
        except BaseException:
            self.remove(name)
            raise


def _writer(name: str, stream: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter | pa.csv.CSVWriter:
    if name.endswith(".csv"):
        return pa.csv.CSVWriter(stream, schema)
    return pq.ParquetWriter(stream, schema, compression="zstd")


def _draft_of(file: str) -> str:
    folder, name = posixpath.split(file)
    return f"{folder}/.{name}.draft"
