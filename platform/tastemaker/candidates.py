"""What retrieval proposes, as columns, and how the proposals of several sources become one list.

Serving retrieves with it and training makes the ranker's examples with it, so that the ranker learns from the lists
that it will be asked about.

B users, C candidates in retrieval order, N items, G categories. A code of -1 is padding, always at the end of its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from tastemaker.decisions.drops import Drop

Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

SOURCES: Final = (
    "two-tower",
    "item-to-item",
    "als",
    "content",
    "popular",
    "session",
    "trending",
    "explore",
    "named",
    "stream",
)
"""Names of the candidate sources; `Proposals.source` holds their positions. `named` is the caller, whom none asks."""
TWO_TOWER, ITEM_TO_ITEM, ALS, CONTENT, POPULAR, SESSION, TRENDING, EXPLORE, NAMED, STREAM = range(len(SOURCES))
LIVE: Final = (TRENDING, EXPLORE, STREAM)
"""What these propose changes by the minute, whatever the bundle."""

Shares = Mapping[int, float]
"""What part of the candidate list is kept for each source; one that is not here is switched off. The two-tower search,
where it is on, has what the others leave: its own part is not looked at."""


@dataclass(frozen=True)
class Proposals:
    """C items for each of B users, and who proposed them."""

    codes: Codes  # (B, C)
    source: npt.NDArray[np.uint8]  # (B, C) position in SOURCES

    def select(self, mask: Mask) -> Proposals:
        """Those that `mask` (B, C) marks, in the same order."""
        counts = np.count_nonzero(mask, axis=1)
        filled = np.arange(counts.max(initial=0)) < counts[:, None]
        codes, source = np.full(filled.shape, -1, dtype=np.int32), np.zeros(filled.shape, dtype=np.uint8)
        codes[filled], source[filled] = self.codes[mask], self.source[mask]
        return Proposals(codes, source)

    def head(self, limit: int) -> Proposals:
        """At most the first `limit` of each user."""
        return Proposals(self.codes[:, :limit], self.source[:, :limit])


@dataclass(frozen=True)
class Explored:
    """What the explore source drew, highest first, and how likely each item was to get into the slate; -1 pads."""

    codes: Codes  # (B, E)
    chance: Floats  # (B, E)


@dataclass(frozen=True)
class Candidates:
    """What the ranker is to choose from, with all that retrieval knows of it."""

    codes: Codes  # (B, C)
    source: npt.NDArray[np.uint8]  # (B, C) position in SOURCES
    signals: Floats  # (S, B, C) what each of features.cross.SIGNALS says of it
    dropped: tuple[Drop, ...] = ()  # what retrieval and filters took away, where that is traced
    silent: tuple[str, ...] = ()  # names of the sources that failed or ran late
    explored: Explored | None = None
    live: Mapping[str, Codes] = field(default_factory=dict)  # (B, k) by source that changes by the minute; where traced


def unite(nearest: Codes, others: Mapping[int, Codes], limit: int) -> Proposals:
    """One list of what the sources propose: `limit` items, and more where `nearest` has more.

    The lists stand one after another: the two-tower search's share of `limit`, the other sources' lists, then the
    rest of the search, which fills the places of doubles and of what filters remove.

    Args:
        nearest: what the two-tower search found, best first (B, k); k is 0 where it is switched off or was dropped.
        others: by source, best first (B, at most its share of `limit`).
    """
    lead = max(limit - sum(codes.shape[1] for codes in others.values()), 0)
    lists = (nearest[:, :lead], *others.values(), nearest[:, lead:])
    names = np.array([TWO_TOWER, *others, TWO_TOWER], dtype=np.uint8)
    codes = np.concatenate(lists, axis=1)
    source = np.repeat(names, [part.shape[1] for part in lists])
    return _without_doubles(Proposals(codes, np.broadcast_to(source, codes.shape)))


def together(parts: Sequence[tuple[npt.NDArray[np.intp], Proposals]]) -> Proposals:
    """One batch of the proposals for parts of it; each part says which rows it has, and every row is in one of them."""
    rows = sum(len(places) for places, _ in parts)
    width = max(proposals.codes.shape[1] for _, proposals in parts)
    codes, source = np.full((rows, width), -1, dtype=np.int32), np.zeros((rows, width), dtype=np.uint8)
    for places, proposals in parts:
        codes[places, : proposals.codes.shape[1]] = proposals.codes
        source[places, : proposals.codes.shape[1]] = proposals.source
    return Proposals(codes, source)


@dataclass(frozen=True)
class Named:
    """Candidates that requests name, which takes the place of retrieval: the hits of a search, items like another."""

    asked: Mask  # (B,) the requests that do
    codes: Codes  # (B, W) in the caller's order
    scores: Floats  # (B, W) what the caller says of them, on a scale of its own
    personal: Floats  # (B,) weight of the ranker beside those scores, in [0, 1]

    def instead_of(self, proposals: Proposals) -> Proposals:
        """The `proposals`, with the named items in the rows of the requests that name some."""
        named, others = np.flatnonzero(self.asked), np.flatnonzero(~self.asked)
        codes = self.codes[named]
        theirs = Proposals(codes, np.full(codes.shape, NAMED, dtype=np.uint8)).select(codes >= 0)
        return together([(named, theirs), (others, Proposals(proposals.codes[others], proposals.source[others]))])


def by_turns(proposals: Proposals, n: int) -> Codes:
    """The first n of each user's proposals if sources took turns, in proportion to what each proposes, (B, n).

    In `proposals` the sources' lists stand one after another, best first each; -1 pads.
    """
    turn = np.full(proposals.codes.shape, np.inf)
    for source in np.unique(proposals.source):
        own = (proposals.source == source) & (proposals.codes >= 0)
        place = np.cumsum(own, axis=1)
        turn = np.where(own, (place - 0.5) / np.maximum(place[:, -1:], 1), turn)
    first = np.argsort(turn, axis=1, kind="stable")[:, :n]
    return np.take_along_axis(proposals.codes, first, axis=1)


def no_codes() -> Codes:
    """None at all."""
    return np.empty(0, dtype=np.int32)


def shares_of(sources: Mapping[str, float]) -> Shares:
    """The shares of a scene, whose sources go by their names. Their lists stand in this order behind the search's."""
    return {SOURCES.index(name): share for name, share in sources.items() if share > 0}


def places(shares: Shares, source: int, limit: int) -> int:
    """How many of a list of `limit` are kept for `source`, which is not the two-tower search."""
    return int(limit * shares.get(source, 0.0))


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
    rows = np.arange(len(items))[:, None]
    marked = np.zeros((len(items), width), dtype=bool)
    marked[rows, items] = True
    marked[:, -1] = False  # the spare column took the padding
    return marked[rows, codes]


def strongest_category(affinity: Floats) -> Codes:
    """Each user's segment: their category of strongest `affinity` (B, G), -1 where none is above zero; shape (B,)."""
    if affinity.shape[1] == 0:
        return np.full(len(affinity), -1, dtype=np.int32)
    return np.where(affinity.max(axis=1) > 0, affinity.argmax(axis=1), -1).astype(np.int32)


def pick(values: npt.NDArray[T], places: Codes, fill: float) -> npt.NDArray[T]:
    """The `values` (B, C) at `places` (B, n), `fill` where a place is -1."""
    if values.shape[1] == 0:
        return np.full(places.shape, fill, dtype=values.dtype)
    return np.where(places >= 0, np.take_along_axis(values, places, axis=1), values.dtype.type(fill))


def _without_doubles(proposals: Proposals) -> Proposals:
    """Without padding and doubles; an item proposed twice stays where, and as whose, it came first."""
    codes = proposals.codes
    rows, place = np.arange(len(codes))[:, None], np.arange(codes.shape[1], dtype=np.int32)
    first = np.empty((len(codes), int(codes.max(initial=-1)) + 2), dtype=np.int32)  # the spare column takes padding
    # Written back to front, so that the place of the first proposer is what remains. NumPy keeps to the order only of
    # contiguous arrays; of reversed views it would let the last proposer win.
    first[rows, np.ascontiguousarray(codes[:, ::-1])] = np.ascontiguousarray(place[::-1])
    return proposals.select((first[rows, codes] == place) & (codes >= 0))
