"""The model bundle: one directory, one manifest, loaded or refused as a whole.

Everything that a version of the recommender needs travels together, so that a tower never meets another version's
index. Item-aligned parts have one row per catalogue item; the row number is the item's code.

    part               shape, type                what
    items              table, N rows              catalogue and item features in code order
    item_vectors       (N, D) float32             the item tower's output
    index              file (FAISS)               search over item_vectors by inner product
    neighbours         (N, K) int32               item-to-item table, best first, -1 where there are fewer
    neighbour_weights  (N, K) float32             their weights
    user_tower         file (torch.export)        history, preferences, ages, user buckets, profile → (B, D)
    ranker             file (torch.export)        user vectors, profile, item halves, cross features → (B, C) logits
    ranker_items       (N, H) float16             the item half of the ranker's first layer, computed once
    popularity         json                       item codes, best first: overall, by category, by segment
    vocabulary         json                       categories in the order of every affinity vector
    report             json                       evaluation on the holdout
    recipe             json                       the settings that made it
"""

from __future__ import annotations

import hashlib
import importlib.metadata
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
from pydantic import BaseModel, ConfigDict, ValidationError

from tastemaker import columns
from tastemaker.errors import BundleMismatch, InvalidInput, NotFound

FORMAT = 1
MANIFEST = "manifest.json"
ITEM_ALIGNED = ("items", "item_vectors", "neighbours", "neighbour_weights", "ranker_items")
REQUIRED = (*ITEM_ALIGNED, "index", "user_tower", "ranker", "popularity", "vocabulary", "report", "recipe")
LIBRARIES = ("torch", "faiss-cpu", "faiss-gpu")

Array = npt.NDArray[Any]
PartValue: TypeAlias = Array | pa.Table | Mapping[str, Any] | list[Any] | Path


class Part(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str
    bytes: int
    shape: tuple[int, ...] | None = None


class Manifest(BaseModel):
    """What a bundle says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    created_at: datetime
    items: int
    dim: int
    catalogue: str
    """Digest of the item ids in code order: what ties item-aligned parts to one catalogue."""
    feature_service: str
    feature_schema: str
    """Hash of the feature definitions that the models were trained on."""
    data_window: tuple[datetime, datetime]
    libraries: dict[str, str]
    parts: dict[str, Part]

    @property
    def version(self) -> str:
        """A short name for exactly these parts."""
        sums = "".join(part.sha256 for _, part in sorted(self.parts.items()))
        return hashlib.sha256(sums.encode()).hexdigest()[:12]


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
    _check_names(parts)
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
        _check_rows(path, manifest)
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
    _check_names(manifest.parts, str(path))
    _check_rows(path, manifest)
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
    _check_libraries(path, manifest)
    return Bundle(path, manifest)


def catalogue_digest(item_ids: Iterable[str]) -> str:
    """Digest of item ids in code order."""
    return hashlib.sha256("\0".join(item_ids).encode()).hexdigest()[:16]


def installed_libraries() -> dict[str, str]:
    """Versions of the libraries whose files a bundle carries."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


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


def _check_names(parts: Iterable[str], where: str = "new bundle") -> None:
    missing = sorted(set(REQUIRED) - set(parts))
    if missing:
        raise BundleMismatch(f"{where} lacks {', '.join(missing)}", "Train it again")


def _check_rows(path: Path, manifest: Manifest) -> None:
    for name in ITEM_ALIGNED:
        shape = manifest.parts[name].shape
        if shape is None or shape[0] != manifest.items:
            rows = "none" if shape is None else shape[0]
            raise BundleMismatch(
                f"bundle {path}: {name} has {rows} rows for {manifest.items} items",
                "Its parts are of different catalogues",
            )


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


def _check_libraries(path: Path, manifest: Manifest) -> None:
    installed = installed_libraries()
    for name, written_by in manifest.libraries.items():
        here = installed.get(name)
        if here is not None and _minor(here) < _minor(written_by):
            raise BundleMismatch(
                f"bundle {path} was written with {name} {written_by}, this installation has the older {here}",
                f"Install {name}>={written_by}",
            )


def _minor(version: str) -> tuple[int, int]:
    try:
        major, minor = version.split(".")[:2]
        return int(major), int(minor)
    except ValueError as error:
        raise InvalidInput(f"{version!r} is not a version", "Expected MAJOR.MINOR") from error
