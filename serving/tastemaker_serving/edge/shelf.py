"""What the edge keeps of a bundle in memory: enough to answer when nothing else is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker import bundle, columns, ids
from tastemaker.attributes import Attributes
from tastemaker.demographics import DEMOGRAPHIC, Lists
from tastemaker_serving.edge.text_index import TextIndex

PARTS = ("items", "neighbours", "neighbour_weights", "popularity")

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shelf:
    """The catalogue in code order (N items), its item-to-item table and its popularity lists (codes, best first)."""

    version: str
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    attributes: Attributes
    neighbours: npt.NDArray[np.int32]
    """(N, K), best first, -1 where there are fewer."""
    neighbour_weights: npt.NDArray[np.float32]
    """(N, K)."""
    popular: tuple[int, ...]
    """Every item of the catalogue; those that nobody touched come last."""
    popular_in: Mapping[str, tuple[int, ...]]
    """By category."""
    popular_for: Mapping[str, tuple[int, ...]]
    """By segment: what users whose strongest category it is like."""
    popular_among: Lists
    """By what a profile tells: what is popular among people like that."""
    words: TextIndex

    @cached_property
    def code_of(self) -> Mapping[str, int]:
        """The code of each item id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    def codes_of(self, keys: ids.Keys) -> Codes:
        """Codes of hashed item ids (`ids.key_of`), shape (n,); -1 for items outside the catalogue."""
        sorted_keys, codes = self._key_order
        if not len(sorted_keys):
            return np.full(len(keys), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
        return np.where(sorted_keys[places] == keys, codes[places], -1)

    @cached_property
    def _key_order(self) -> tuple[ids.Keys, Codes]:
        keys = ids.keys_of(self.item_ids)
        order = np.argsort(keys)
        return keys[order], order


def load(path: Path, version: str | None = None) -> Shelf:
    """The shelf of the bundle at `path`; only the parts it needs are read and checked.

    Args:
        version: what to call it; by default what the bundle calls itself.

    Raises:
        NotFound, BundleMismatch: see `bundle.read`.
    """
    opened = bundle.read(path, only=PARTS)
    items = opened.items()
    popularity = opened.json("popularity")
    shelf = Shelf(
        version=version or opened.manifest.version,
        item_ids=tuple(items[columns.ITEM_ID].to_pylist()),
        titles=tuple(items[columns.TITLE].to_pylist()),
        categories=tuple(tuple(names or ()) for names in items[columns.CATEGORIES].to_pylist()),
        attributes=Attributes.of(items),
        neighbours=np.array(opened.array("neighbours")),
        neighbour_weights=np.array(opened.array("neighbour_weights")),
        popular=_everything(popularity["overall"], items.num_rows),
        popular_in=_by_name(popularity["category"]),
        popular_for=_by_name(popularity["segment"]),
        popular_among=popularity.get(DEMOGRAPHIC, {}),
        words=TextIndex.of(items, popularity["overall"]),
    )
    # Built now rather than by the first request.
    _ = shelf.code_of, shelf._key_order
    return shelf


def _everything(popular: Iterable[int], items: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys([*popular, *range(items)]))


def _by_name(lists: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(codes) for name, codes in lists.items()}
