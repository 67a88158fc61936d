"""What rules, caps and freshness go by: each item's categories, author and time of publication, as columns, and whether
it is there at all.

N items, K categories of the item that has most. A code of -1 is padding or unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.candidates import Codes
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.types import Item

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Attributes:
    """Of a catalogue in code order. Equal only to itself, so that what is made of it can be cached by it."""

    index: KeyIndex
    category_codes: Mapping[str, int]
    author_codes: Mapping[str, int]
    categories: Codes  # (N, K)
    author: Codes  # (N,)
    published: npt.NDArray[np.float64]  # (N,) seconds since 1970, NaN where unknown
    gone: Mask  # (N,) removed or not available, so that it is in no slate

    @classmethod
    def of(cls, items: pa.Table) -> Attributes:
        """The attributes of a table in lake.ITEM_SCHEMA; an item without `published_at` is as old as its year."""
        categories, category_codes = _categories(items[columns.CATEGORIES].combine_chunks())
        author = pc.dictionary_encode(items[columns.AUTHOR].combine_chunks())
        return cls(
            KeyIndex.of(items[columns.ITEM_ID].to_pylist()),
            category_codes,
            {name: code for code, name in enumerate(author.dictionary.to_pylist())},
            categories,
            pc.fill_null(author.indices, -1).to_numpy().astype(np.int32),
            published(items),
            pc.invert(pc.fill_null(items[columns.AVAILABLE], True)).to_numpy(),
        )

    def changed(self, added: Sequence[str], items: Mapping[int, Item], gone: Codes) -> Attributes:
        """The attributes after a change of the catalogue.

        Args:
            added: ids of the items that come behind the others, in the order of their codes.
            items: what items are now, by code; every new one is among them.
            gone: all items that are in no slate now (G,).
        """
        first = len(self.author)
        size = first + len(added)
        width = max(self.categories.shape[1], *(len(item.categories) for item in items.values()), 0)
        categories = np.full((size, width), -1, dtype=np.int32)
        categories[:first, : self.categories.shape[1]] = self.categories
        author, moments = np.resize(self.author, size), np.resize(self.published, size)
        category_codes, author_codes = dict(self.category_codes), dict(self.author_codes)
        for code, item in items.items():
            named = [category_codes.setdefault(name, len(category_codes)) for name in item.categories]
            categories[code] = -1
            categories[code, : len(named)] = named
            author[code] = -1 if item.author is None else author_codes.setdefault(item.author, len(author_codes))
            moments[code] = published_of(item)
        is_gone = np.zeros(size, dtype=bool)
        is_gone[gone] = True
        index = self.index.extended(added, first)
        return Attributes(index, category_codes, author_codes, categories, author, moments, is_gone)

    def codes_of(self, item_ids: Sequence[str]) -> Codes:
        """The codes of the items that the catalogue has, in the order of their ids."""
        codes = self.index.find(keys_of(item_ids))
        return codes[codes >= 0]

    def named(self, item_ids: Sequence[str], categories: Sequence[str], authors: Sequence[str]) -> Mask:
        """Which items are one of these, in one of these categories, or by one of these authors; (N,)."""
        chosen = np.isin(self.author, [self.author_codes[name] for name in authors if name in self.author_codes])
        of_category = [self.category_codes[name] for name in categories if name in self.category_codes]
        chosen |= np.isin(self.categories, of_category).any(axis=1)
        chosen[self.codes_of(item_ids)] = True
        return chosen


def _categories(lists: pa.Array) -> tuple[Codes, dict[str, int]]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    names = pc.dictionary_encode(pc.list_flatten(lists))
    codes = np.full((len(lists), int(lengths.max(initial=0))), -1, dtype=np.int32)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = names.indices.to_numpy()
    return codes, {name: code for code, name in enumerate(names.dictionary.to_pylist())}


def published(items: pa.Table) -> npt.NDArray[np.float64]:
    """When each item came out (N,), in seconds since 1970; NaN where even the year is unknown."""
    moment = items[columns.PUBLISHED_AT].cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy() / 1e6
    year = items[columns.RELEASE_YEAR].cast(pa.float64()).to_numpy()
    known = np.isfinite(year)
    first_days = (np.where(known, year, 1970).astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[s]")
    return np.where(np.isfinite(moment), moment, np.where(known, first_days.astype(np.int64), np.nan))


def published_of(item: Item) -> float:
    """As `published`, of one item."""
    if item.published_at is not None:
        return item.published_at.timestamp()
    return float("nan") if item.release_year is None else datetime(item.release_year, 1, 1, tzinfo=UTC).timestamp()
