"""What retrieval proposes, as columns, and how the proposals of several sources become one list.

Serving retrieves with it and training makes the ranker's examples with it, so that the ranker learns from the lists
that it will be asked about.

B users, C candidates in retrieval order, N items, G categories. A code of -1 is padding, always at the end of its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from tastemaker.decisions.drops import Drop

Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

SOURCES: Final = ("two-tower", "item-to-item", "als", "content", "popular")
"""Names of the candidate sources; `Proposals.source` holds their positions."""
TWO_TOWER, ITEM_TO_ITEM, ALS, CONTENT, POPULAR = range(len(SOURCES))

SHARES: Final = {ITEM_TO_ITEM: 0.35, ALS: 0.15, CONTENT: 0.05, POPULAR: 0.1}
"""Places of the list kept for these sources; the two-tower search has the rest, and what they leave empty."""


@dataclass(frozen=True)
class Proposals:
    """C items for each of B users, and who proposed them."""

    codes: Codes  # (B, C)
    source: npt.NDArray[np.uint8]  # (B, C) position in SOURCES

    def select(self, mask: Mask) -> Proposals:
        """Those that `mask` (B, C) marks, in the same order."""
        counts = np.count_nonzero(mask, axis=1)
        width = int(counts.max(initial=0))
        order = np.argsort(~mask, axis=1, kind="stable")[:, :width]
        codes = np.take_along_axis(self.codes, order, axis=1)
        codes[np.arange(width) >= counts[:, None]] = -1
        return Proposals(codes, np.take_along_axis(self.source, order, axis=1))

    def head(self, limit: int) -> Proposals:
        """At most the first `limit` of each user."""
        return Proposals(self.codes[:, :limit], self.source[:, :limit])


@dataclass(frozen=True)
class Candidates:
    """What the ranker is to choose from, with all that retrieval knows of it."""

    codes: Codes  # (B, C)
    source: npt.NDArray[np.uint8]  # (B, C) position in SOURCES
    signals: Floats  # (S, B, C) what each of features.cross.SIGNALS says of it
    dropped: tuple[Drop, ...] = ()  # what retrieval and filters took away, where that is traced


def unite(nearest: Codes, others: Mapping[int, Codes], limit: int) -> Proposals:
    """One list of what the sources propose: `limit` items, and more where `nearest` has more.

    The lists stand one after another: the two-tower search's share of `limit`, the other sources' lists, then the
    rest of the search, which fills the places of doubles and of what filters remove.

    Args:
        nearest: what the two-tower search found, best first (B, k).
        others: by source, best first (B, at most `places(source, limit)`).
    """
    lead = limit - sum(codes.shape[1] for codes in others.values())
    lists = (nearest[:, :lead], *others.values(), nearest[:, lead:])
    names = np.array([TWO_TOWER, *others, TWO_TOWER], dtype=np.uint8)
    codes = np.concatenate(lists, axis=1)
    source = np.repeat(names, [part.shape[1] for part in lists])
    return _without_doubles(Proposals(codes, np.broadcast_to(source, codes.shape)))


def places(source: int, limit: int) -> int:
    """How many of a list of `limit` are kept for `source`."""
    return int(limit * SHARES[source])


def largest(scores: Floats, k: int) -> Codes:
    """The places of the k largest of each row of `scores` (B, N), largest first, shape (B, min(k, N))."""
    k = min(k, scores.shape[1])
    if k == 0:
        return np.empty((len(scores), 0), dtype=np.int32)
    places = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    order = np.argsort(-np.take_along_axis(scores, places, axis=1), axis=1)
    return np.take_along_axis(places, order, axis=1).astype(np.int32)


def most_voted(votes: Floats, k: int) -> Codes:
    """The k items with the largest positive votes (B, N), best first, shape (B, k)."""
    codes = np.full((len(votes), k), -1, dtype=np.int32)
    for row, scores in enumerate(votes):
        near = np.flatnonzero(scores > 0)
        best = near[largest(scores[None, near], k)[0]]
        codes[row, : len(best)] = best
    return codes


def among(codes: Codes, items: Codes) -> Mask:
    """Which of the `codes` (B, C) are one of their user's `items` (B, S); padding never is."""
    width = int(max(codes.max(initial=-1), items.max(initial=-1))) + 2
    marked = np.zeros((len(items), width), dtype=bool)
    np.put_along_axis(marked, items, True, axis=1)
    marked[:, -1] = False  # the spare column took the padding
    return np.take_along_axis(marked, codes, axis=1)


def popular_table(document: Mapping[str, Any], vocabulary: Sequence[str], width: int) -> Codes:
    """The bundle's `popularity` document as codes (G + 1, width), best first.

    Row g is for segment g of the vocabulary, the last for everybody; a segment's short list goes on with the overall
    one.
    """
    overall: list[int] = document["overall"]
    rows = [[*document["segment"].get(name, ()), *overall] for name in vocabulary] + [overall]
    table = np.full((len(rows), width), -1, dtype=np.int32)
    for row, codes in enumerate(rows):
        unique = list(dict.fromkeys(codes))[:width]
        table[row, : len(unique)] = unique
    return table


def strongest_category(affinity: Floats) -> Codes:
    """Each user's segment: their category of strongest `affinity` (B, G), -1 where none is above zero; shape (B,)."""
    if affinity.shape[1] == 0:
        return np.full(len(affinity), -1, dtype=np.int32)
    return np.where(affinity.max(axis=1) > 0, affinity.argmax(axis=1), -1).astype(np.int32)


def pick(values: npt.NDArray[T], places: Codes, fill: float) -> npt.NDArray[T]:
    """The `values` (B, C) at `places` (B, n), `fill` where a place is -1."""
    return np.where(places >= 0, np.take_along_axis(values, places, axis=1), values.dtype.type(fill))


def _without_doubles(proposals: Proposals) -> Proposals:
    """Without padding and doubles; an item proposed twice stays where, and as whose, it came first."""
    codes = proposals.codes
    place = np.arange(codes.shape[1], dtype=np.int32)
    first = np.empty((len(codes), int(codes.max(initial=-1)) + 2), dtype=np.int32)  # the spare column takes padding
    # Written back to front, so that the place of the first proposer is what remains. NumPy keeps to the order only of
    # contiguous arrays; of reversed views it would let the last proposer win.
    backwards = np.broadcast_to(place[::-1], codes.shape)
    np.put_along_axis(first, np.ascontiguousarray(codes[:, ::-1]), np.ascontiguousarray(backwards), axis=1)
    return proposals.select((np.take_along_axis(first, codes, axis=1) == place) & (codes >= 0))
