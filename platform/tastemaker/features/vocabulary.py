"""The category vocabulary: position i of every affinity vector means the same category for ever.

It only grows, at its end, so vectors of different ages and models trained on them stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterable

from tastemaker.features.files import VOCABULARY_FILE
from tastemaker.lake import Lake


def read(lake: Lake) -> list[str]:
    """The categories in the order of every affinity vector.

    Raises:
        NotFound: no features have been built yet.
    """
    return [str(name) for name in lake.read_json(VOCABULARY_FILE, "Build them with `tastemaker features build`")]


def extend(lake: Lake, categories: Iterable[str]) -> list[str]:
    """Append those of `categories` that are new, in alphabetical order; returns the whole vocabulary."""
    is_first = not lake.exists(VOCABULARY_FILE)
    present = [] if is_first else read(lake)
    new = sorted(set(categories).difference(present))
    if new or is_first:
        lake.write_json(VOCABULARY_FILE, present + new)
    return present + new
