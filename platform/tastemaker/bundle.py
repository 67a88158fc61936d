"""The model bundle: one directory, one manifest, loaded or refused as a whole.

Everything that a version of the recommender needs travels together, so that a tower never meets another version's
index. Item-aligned parts have one row per catalogue item; the row number is the item's code. `manifest` names them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from tastemaker import columns
from tastemaker.catalogue.tables import as_items
from tastemaker.errors import BundleMismatch, NotFound
from tastemaker.manifest import (
    FORMAT,
    MANIFEST,
    REQUIRED,
    Manifest,
    Part,
    check_libraries,
    check_names,
    check_rows,
    installed_libraries,
)

Array = npt.NDArray[Any]
PartValue: TypeAlias = Array | pa.Table | Mapping[str, Any] | list[Any] | Path


class Bundle:
    """An open bundle whose parts have been checked. Parts are read on demand."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def file(self, part: str) -> Path:
        """Where the file of `part` lies."""
        return self.path / self.manifest.parts[part].file

    def array(self, part: str) -> Array:
        """An array, memory-mapped read-only."""
        return np.load(self.file(part), mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    def table(self, part: str) -> pa.Table:
        """An Arrow table."""
        return pq.read_table(self.file(part))

    def items(self) -> pa.Table:
        """The catalogue in code order, in lake.ITEM_SCHEMA."""
        return as_items(self.table("items"))

    def json(self, part: str) -> Any:
        """A JSON document."""
        return json.loads(self.file(part).read_text())


def write(
    path: Path,
    parts: Mapping[str, PartValue],
    *,
    feature_service: str,
    feature_schema: str,
    data_window: tuple[datetime, datetime],
) -> Manifest:
    """Write a bundle to `path`, which appears whole or not at all.

    Raises:
        BundleMismatch: a part is missing, or item-aligned parts differ in length.
    """
    check_names(parts)
    draft = path.with_name(f".{path.name}.draft-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        written = {name: _write_part(draft, name, value) for name, value in parts.items()}
        vectors = written["item_vectors"].shape or (0, 0)
        manifest = Manifest(
            format=FORMAT,
            created_at=datetime.now(UTC),
            items=vectors[0],
            dim=vectors[1],
            catalogue=catalogue_digest(_item_ids(draft / written["items"].file)),
            feature_service=feature_service,
            feature_schema=feature_schema,
            data_window=data_window,
            libraries=installed_libraries(),
            parts=written,
        )
        check_rows(path, manifest)
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def read(path: Path, *, feature_schema: str | None = None, only: Iterable[str] = REQUIRED) -> Bundle:
    """Open the bundle at `path` after checking it.

    Args:
        feature_schema: hash of this installation's feature definitions; a bundle of another is refused.
        only: names of the parts that this process will read; only their checksums are computed.

    Raises:
        NotFound: there is no bundle at `path`.
        BundleMismatch: a part is missing, altered, of another catalogue, or needs another installation.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise NotFound(f"no bundle at {path}: {MANIFEST} is missing", "Train one with `tastemaker train`")
    try:
        manifest = Manifest.model_validate_json(file.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleMismatch(
            f"bundle {path}: {MANIFEST} does not fit at {'.'.join(map(str, first['loc']))!r}: {first['msg']}",
            "Train it again, or read it with the version of Tastemaker that wrote it",
        ) from error
    if manifest.format != FORMAT:
        raise BundleMismatch(
            f"bundle {path} has format {manifest.format}, this installation reads {FORMAT}", "Train it again"
        )
    check_names(manifest.parts, str(path))
    check_rows(path, manifest)
    for name in only:
        _check_part(path, name, manifest.parts[name])
    if "items" in only:
        _check_catalogue(path, manifest)
    if feature_schema is not None and manifest.feature_schema != feature_schema:
        raise BundleMismatch(
            f"bundle {path} was trained on feature schema {manifest.feature_schema}, this installation has "
            f"{feature_schema}",
            "Train it again on the present feature definitions",
        )
    check_libraries(path, manifest)
    return Bundle(path, manifest)


def catalogue_digest(item_ids: Iterable[str]) -> str:
    """Digest of item ids in code order."""
    return hashlib.sha256("\0".join(item_ids).encode()).hexdigest()[:16]


def _write_part(directory: Path, name: str, value: PartValue) -> Part:
    shape: tuple[int, ...] | None = None
    if isinstance(value, np.ndarray):
        file = directory / f"{name}.npy"
        np.save(file, np.ascontiguousarray(value), allow_pickle=False)
        shape = tuple(value.shape)
    elif isinstance(value, pa.Table):
        file = directory / f"{name}.parquet"
        pq.write_table(value, file)
        shape = (value.num_rows, value.num_columns)
    elif isinstance(value, Path):
        file = directory / f"{name}{value.suffix}"
        shutil.copyfile(value, file)
    else:
        file = directory / f"{name}.json"
        file.write_text(json.dumps(value, indent=1, default=str))
    return Part(file=file.name, sha256=_sha256(file), bytes=file.stat().st_size, shape=shape)


def _item_ids(file: Path) -> list[str]:
    return pq.read_table(file, columns=[columns.ITEM_ID])[columns.ITEM_ID].to_pylist()  # type: ignore[no-any-return]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_part(path: Path, name: str, part: Part) -> None:
    file = path / part.file
    if file.parent != path:
        raise BundleMismatch(
            f"bundle {path}: part {name} points outside the bundle: {part.file!r}", "Refuse its origin"
        )
    if not file.is_file():
        raise BundleMismatch(f"bundle {path}: part {name} ({part.file}) is missing", "Download it again")
    if file.stat().st_size != part.bytes or _sha256(file) != part.sha256:
        raise BundleMismatch(
            f"bundle {path}: part {name} ({part.file}) is not the file that the manifest names (its checksum differs)",
            "Download it again; parts of different versions must not be mixed",
        )


def _check_catalogue(path: Path, manifest: Manifest) -> None:
    if catalogue_digest(_item_ids(path / manifest.parts["items"].file)) != manifest.catalogue:
        raise BundleMismatch(f"bundle {path}: items are not the catalogue {manifest.catalogue}", "Train it again")
