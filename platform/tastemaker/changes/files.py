"""Tables of the lake that change row by row.

Of each, `NAME/NAME.parquet` is replaced as a whole, and `NAME/changes/*.parquet` is what changed since, one file per
append. Readers see both as one.
"""

from __future__ import annotations

import posixpath
import uuid
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from tastemaker.changes import tables
from tastemaker.changes.tables import at_version, change_schema, fitted, version_of
from tastemaker.errors import NotFound
from tastemaker.lake_files import Files

CHANGE_FILES: Final = 50
"""Files of changes beyond which they become one."""

while_files_go = retry(
    retry=retry_if_exception_type((FileNotFoundError, NotFound)), stop=stop_after_attempt(5), reraise=True
)
"""Again, where another process just made one of several files of changes."""


class ChangingTable:
    """The table `name` of a lake, in `schema`, whose first column is the row's id."""

    def __init__(self, files: Files, name: str, schema: pa.Schema) -> None:
        self._files = files
        self.schema = schema
        self._changes = f"{name}/changes"
        self.base = f"{name}/{name}.parquet"
        """The table without its changes; need not be there."""

    @while_files_go
    def read(self, only: pa.Array | None = None) -> pa.Table | None:
        """The table with all changes, in its schema; None where there never was a row.

        Args:
            only: ids of the rows that are wanted, by default all.
        """
        wanted = None if only is None else ds.field(self.schema.names[0]).isin(only)
        # Changes before the base: whoever folds them in writes the base first, so between the two nothing is missed.
        changes = [self._files.read(file, wanted=wanted) for file in self.change_files()]
        if self._files.exists(self.base):
            return tables.changed(fitted(self._files.read(self.base, wanted=wanted), self.schema), changes)
        return tables.changed(self.schema.empty_table(), changes) if changes else None

    @while_files_go
    def rows(self) -> int:
        """How many rows the table has with all changes."""
        of_ids = pa.schema([self.schema[0]])
        told = change_schema(of_ids).names
        changes = [self._files.read(file, names=told) for file in self.change_files()]
        if not changes:
            return self._files.rows(self.base)
        base = of_ids.empty_table()
        if self._files.exists(self.base):
            base = self._files.read(self.base, names=of_ids.names)
        return int(tables.changed(base, changes).num_rows)

    def version(self) -> int:
        """The version up to which the lake has all changes; 0 for none."""
        base = version_of(self._files.read(self.base)) if self._files.exists(self.base) else 0
        return max([base, *map(_version_in, self.change_files())])

    def replace(self, table: pa.Table, version: int | None = None) -> None:
        """Make `table` all there is, up to and including the changes of `version`; by default all there are."""
        version = self.version() if version is None else version
        self._files.write(self.base, at_version(table, version))
        for file in self.change_files():
            if _version_in(file) <= version:
                self._files.remove(file)

    def append(self, changes: pa.Table) -> None:
        """Add changes (`tables.change_schema`), at least one, as one new file; many small files become one."""
        self._write(changes, pc.max(changes[tables.VERSION]).as_py())
        self._merge()

    def change_files(self) -> list[str]:
        """Names of the files of changes, relative to the lake, by the highest version in them."""
        return [file for file in self._files.files(self._changes) if file.endswith(".parquet")]

    @while_files_go
    def _merge(self) -> None:
        files = self.change_files()
        if len(files) > CHANGE_FILES:
            # By the name: of the newest changes there may be none left, since erased users' go.
            self._write(tables.newest([self._files.read(file) for file in files], self.schema), _version_in(files[-1]))
            for file in files:
                self._files.remove(file)

    def _write(self, changes: pa.Table, version: int) -> None:
        self._files.write(f"{self._changes}/{version:020d}-{uuid.uuid4().hex[:8]}.parquet", changes)


def _version_in(file: str) -> int:
    """The highest version in a file of changes, by its name."""
    return int(posixpath.basename(file).partition("-")[0])
