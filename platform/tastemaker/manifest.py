"""What a model bundle says of itself: its parts, their sums, and what they were made with.

part               shape, type                what
items              table, N rows              catalogue and item features in code order
item_vectors       (N, D) float32             the item tower's output
index              file (FAISS)               search over item_vectors by inner product
als_factors        (N, F) float32             factors of alternating least squares
als_gram           (F, F) float32             what it takes to solve for a user's
content_vectors    (N, C) float32             what the item is about, rows of length 1
content_idf        (W,) float32               inverse document frequency of hashed words
content_directions (W, C) float16             from words to content vectors, of items to come as well
neighbours         (N, K) int32               item-to-item table, best first, -1 where there are fewer
neighbour_weights  (N, K) float32             their weights
user_tower         file (torch.export)        history, preferences, ages, user buckets, profile → (B, D)
ranker             file (torch.export)        user vectors, profile, item halves, cross features → (B, C) logits
ranker_items       (N, H) float16             the item half of the ranker's first layer, computed once
popularity         json                       item codes, best first: overall, by category, by segment
vocabulary         json                       categories in the order of every affinity vector
report             json                       evaluation on the holdout
recipe             json                       the settings that made it
model_card         file (Markdown)            for people: what it is, how good, for what; training adds it
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tastemaker.errors import BundleMismatch, InvalidInput

FORMAT = 2
MANIFEST = "manifest.json"
ITEM_ALIGNED = (
    "items",
    "item_vectors",
    "als_factors",
    "content_vectors",
    "neighbours",
    "neighbour_weights",
    "ranker_items",
)
REQUIRED = (
    *ITEM_ALIGNED,
    "index",
    "als_gram",
    "content_idf",
    "content_directions",
    "user_tower",
    "ranker",
    "popularity",
    "vocabulary",
    "report",
    "recipe",
)
LIBRARIES = ("torch", "faiss-cpu", "faiss-gpu")


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


def installed_libraries() -> dict[str, str]:
    """Versions of the libraries whose files a bundle carries."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def check_names(parts: Iterable[str], where: str = "new bundle") -> None:
    """Raises BundleMismatch when a required part is not among `parts`."""
    missing = sorted(set(REQUIRED) - set(parts))
    if missing:
        raise BundleMismatch(f"{where} lacks {', '.join(missing)}", "Train it again")


def check_rows(path: Path, manifest: Manifest) -> None:
    """Raises BundleMismatch when item-aligned parts differ in length."""
    for name in ITEM_ALIGNED:
        shape = manifest.parts[name].shape
        if shape is None or shape[0] != manifest.items:
            rows = "none" if shape is None else shape[0]
            raise BundleMismatch(
                f"bundle {path}: {name} has {rows} rows for {manifest.items} items",
                "Its parts are of different catalogues",
            )


def check_libraries(path: Path, manifest: Manifest) -> None:
    """Raises BundleMismatch when a library here is older than the one that wrote the bundle."""
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
