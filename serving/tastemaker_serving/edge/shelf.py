"""What the edge keeps of a bundle in memory: enough to answer when nothing else is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker import bundle, columns, ids
from tastemaker.attributes import Attributes
from tastemaker.changes.tables import version_of
from tastemaker.demographics import DEMOGRAPHIC, Lists
from tastemaker.features import kin
from tastemaker.features.kin import Relations
from tastemaker_serving.edge.text_index import TextIndex

PARTS = ("items", "neighbours", "neighbour_weights", "popularity", *kin.PARTS)

Codes = npt.NDArray[np.int32]


class Either(Set[str]):
    """Item ids that are in one of two sets, of which neither is copied."""

    def __init__(self, one: Set[str], other: Set[str]) -> None:
        self._one = one
        self._other = other

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._one or item_id in self._other

    def __iter__(self) -> Iterator[str]:
        yield from self._one
        yield from (item_id for item_id in self._other if item_id not in self._one)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The catalogue in code order (N items), its item-to-item table and its popularity lists (codes, best first)."""

    version: str
    item_ids: tuple[str, ...]
    code_of: Mapping[str, int]
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
    relations: Relations
    """Of the bundle's items; their tables stay in its files, which are held open, until a new item comes."""
    catalogue_version: int = 0
    """The version up to which the bundle has the changes of the catalogue (`catalogue.log`)."""
    gone: frozenset[str] = frozenset()
    """Items that are in no slate: removed, or not available."""

    def codes_of(self, keys: ids.Keys) -> Codes:
        """Codes of hashed item ids (`ids.key_of`), shape (n,); -1 for items outside the catalogue."""
        return self.attributes.index.find(keys)


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
    item_ids, attributes = tuple(items[columns.ITEM_ID].to_pylist()), Attributes.of(items)
    return Shelf(
        version=version or opened.manifest.version,
        item_ids=item_ids,
        code_of={item_id: code for code, item_id in enumerate(item_ids)},
        titles=tuple(items[columns.TITLE].to_pylist()),
        categories=tuple(tuple(names or ()) for names in items[columns.CATEGORIES].to_pylist()),
        attributes=attributes,
        neighbours=np.array(opened.array("neighbours")),
        neighbour_weights=np.array(opened.array("neighbour_weights")),
        popular=_everything(popularity["overall"], items.num_rows),
        popular_in=_by_name(popularity["category"]),
        popular_for=_by_name(popularity["segment"]),
        popular_among=popularity.get(DEMOGRAPHIC, {}),
        words=TextIndex.of(items, popularity["overall"]),
        relations=Relations.of(opened),
        catalogue_version=version_of(items),
        gone=frozenset(item_ids[code] for code in np.flatnonzero(attributes.gone).tolist()),
    )


def _everything(popular: Iterable[int], items: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys([*popular, *range(items)]))


def _by_name(lists: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(codes) for name, codes in lists.items()}
