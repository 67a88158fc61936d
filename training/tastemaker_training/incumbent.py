"""The champion that a new version has to stand beside, asked about the same holdout.

An older version was not trained on it: the newest share of each user's events is held out, so that with more events a
user's cut only moves forward. A champion that is newer than the version that it is compared with has the advantage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tastemaker import bundle, columns
from tastemaker.bundle import Bundle
from tastemaker.errors import BundleMismatch, NotFound
from tastemaker.features.definitions import schema_hash
from tastemaker.promotion import champion_beside
from tastemaker.registry import Registry
from tastemaker_training.evaluation.slates import Slates


@dataclass(frozen=True)
class Incumbent:
    """The present champion."""

    version: str
    bundle: Bundle | None
    """None where this installation cannot read it."""
    problem: str = ""
    """Why it cannot."""


def incumbent(registry: Registry, version: str = "") -> Incumbent | None:
    """The champion beside `version`; None where there is none, or it is `version` itself."""
    champion = champion_beside(registry, version)
    if champion is None:
        return None
    try:
        path = registry.download(registry.resolve(champion.version))
        return Incumbent(champion.version, bundle.read(path, feature_schema=schema_hash()))
    except (BundleMismatch, NotFound) as error:
        return Incumbent(champion.version, None, error.problem)


def translated(slates: Slates, theirs: Bundle, ours: Bundle) -> Slates:
    """Slates (V, n) in codes of `theirs` as codes of `ours`; -1 for items that are gone."""
    place = {item: code for code, item in enumerate(ours.table("items")[columns.ITEM_ID].to_pylist())}
    codes = [place.get(item, -1) for item in theirs.table("items")[columns.ITEM_ID].to_pylist()]
    return np.array([*codes, -1], dtype=np.int32)[slates]  # padding, -1, takes the last
