"""Candidate sources: each proposes item codes for a batch of users, best first; `candidates.unite` makes one list.

Serving retrieves with it and training makes the ranker's lists with it. The shares of the list are a scene's; a batch
may mix scenes.

B users, N items, D vector width, L history, k proposals of one source. A code of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import (
    ALS,
    CONTENT,
    EXPLORE,
    ITEM_TO_ITEM,
    POPULAR,
    SESSION,
    SOURCES,
    TWO_TOWER,
    Candidates,
    Codes,
    Explored,
    Floats,
    Named,
    Proposals,
    Shares,
    most_voted,
    no_codes,
    places,
    together,
    unite,
)
from tastemaker.decisions.drops import Drop
from tastemaker.errors import Unavailable
from tastemaker.exploration import DRAWN, Exploring
from tastemaker.features import cross
from tastemaker.features.cross import SIGNALS
from tastemaker.features.fold_in import ItemFactors
from tastemaker.features.tower_inputs import no_times
from tastemaker.popular import Person, PopularTable
from tastemaker.space import Search, Space, search

TELLING: Final = frozenset({TWO_TOWER, ITEM_TO_ITEM, ALS, CONTENT})
"""Sources that are asked even where they are switched off: the ranker hears what they say of every candidate."""


@dataclass(frozen=True)
class Retrieval:
    """What proposes candidates."""

    two_tower: Space
    factors: ItemFactors
    als: Space  # the same vectors
    content: Space
    neighbours: Codes  # (N, K), -1 where there are fewer
    neighbour_weights: Floats  # (N, K)
    popular: PopularTable
    gone: Codes = field(default_factory=no_codes)  # items that are not proposed
    published: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # (N,) seconds since 1970, or NaN


@dataclass(frozen=True)
class Wanted:
    """What is asked for B users."""

    user_vectors: Floats  # (B, D)
    history: Codes  # (B, L) newest last
    preference: Floats  # (B, L) in [-1, 1]
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    seen: Codes  # (B, S)
    excluded: Codes  # (B, X)
    session: Codes  # (B,) how many of the newest events of the history are of the session that goes on
    scene: Codes  # (B,) whose shares hold: position in those of the batch
    people: Sequence[Person] = ()  # B, or none where nothing is known of anybody
    traced: bool = False  # whether `Candidates.dropped` is wanted
    exploring: Exploring | None = None
    scenes: Sequence[str] = ()  # those that `scene` counts
    named: Named | None = None
    time: npt.NDArray[np.uint32] = field(default_factory=no_times)  # (B, L) of the history, seconds since 1970


class Opinion(Protocol):
    """What a source says of any item."""

    def of(self, codes: Codes) -> Floats:
        """What it says of the `codes` (B, C), same shape; of padding, anything."""
        ...


@dataclass(frozen=True)
class Heard:
    """What one source says to B users."""

    proposed: Codes  # (B, k) best first
    opinions: Mapping[str, Opinion] = field(default_factory=dict)  # by name of a signal (features.cross.SIGNALS)
    explored: Explored | None = None


Source = Callable[[Wanted, int], Heard]
"""Proposes at most so many items to each user."""


@dataclass(frozen=True)
class Votes:
    """What an item-to-item table says of every item."""

    scores: Floats  # (B, N)

    def of(self, codes: Codes) -> Floats:
        """What it says of the `codes` (B, C)."""
        return np.take_along_axis(self.scores, codes, axis=1)


def sources(model: Retrieval) -> dict[int, Source]:
    """Those that a bundle is enough for, by their position in SOURCES."""
    from_bundle = {
        TWO_TOWER: two_tower,
        ITEM_TO_ITEM: item_to_item,
        ALS: als,
        CONTENT: content,
        POPULAR: popular,
        SESSION: session,
    }
    return {place: partial(source, model) for place, source in from_bundle.items()}


def two_tower(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What is nearest to the users' vectors."""
    found = search(model.two_tower, wanted.user_vectors, wanted.seen)
    return Heard(found.nearest(k), {"two_tower": found})


def item_to_item(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What whole histories vote for; their newest events speak of every item, too."""
    lasting, recent = votes(model, wanted)
    return Heard(most_voted(lasting, k), {"item_to_item": Votes(lasting), "recent": Votes(recent)})


def als(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What the factors say that histories amount to."""
    found = search_als(model, wanted)
    return Heard(found.nearest(k), {"als": found})


def content(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What is about the same things as what was liked lately."""
    found = search_content(model, wanted)
    return Heard(found.nearest(k), {"content": found})


def popular(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What is popular in each user's segment, with people like them, or with everybody."""
    return Heard(model.popular.of_users(wanted.segment, wanted.people)[:, :k])


def session(model: Retrieval, wanted: Wanted, k: int) -> Heard:
    """What the events of this session lead to, by turns: what tends to follow them, and what the towers put near."""
    rows = np.flatnonzero(wanted.session)
    if len(rows) == 0:
        return Heard(np.empty((len(wanted.session), 0), dtype=np.int32))
    history, preference, seen = wanted.history[rows], wanted.preference[rows], wanted.seen[rows]
    places_back = np.arange(history.shape[1], 0, -1)
    history = np.where(places_back <= wanted.session[rows, None], history, np.int32(-1))
    table = model.neighbours, model.neighbour_weights
    follows = most_voted(cross.item_to_item(*table, history, preference, seen, cross.RECENT), (k + 1) // 2)
    tastes = cross.taste(model.two_tower.vectors.numpy(), history, preference, cross.RECENT)
    near = search(model.two_tower, tastes, seen).nearest(k // 2)
    proposed = np.full((len(wanted.session), k), -1, dtype=np.int32)
    proposed[rows, : 2 * follows.shape[1] : 2] = follows
    proposed[rows, 1 : 2 * near.shape[1] : 2] = near
    return Heard(proposed)


def search_als(model: Retrieval, wanted: Wanted) -> Search:
    """The search of the `als` source."""
    return search(model.als, model.factors.fold_in(wanted.history, wanted.preference), wanted.seen)


def search_content(model: Retrieval, wanted: Wanted) -> Search:
    """The search of the `content` source."""
    tastes = cross.taste(model.content.vectors.numpy(), wanted.history, wanted.preference, cross.CONTENT)
    return search(model.content, tastes, wanted.seen)


def votes(model: Retrieval, wanted: Wanted) -> tuple[Floats, Floats]:
    """What the whole histories and their newest events say of every item, (B, N) each."""
    table = model.neighbours, model.neighbour_weights
    lasting, recent = (
        cross.item_to_item(*table, wanted.history, wanted.preference, wanted.seen, memory)
        for memory in (cross.LASTING, cross.RECENT)
    )
    return lasting, recent


def lengths(shares: Sequence[Shares], wanted: Wanted, limit: int) -> dict[int, int]:
    """How many items to ask each source for, those left out that need not be asked; `shares` are the scenes'."""
    most = {source: max(places(one, source, limit) for one in shares) for source in range(len(SOURCES))}
    # The search stands in for what filters may take away.
    spare = wanted.seen.shape[1] + wanted.excluded.shape[1]
    most[TWO_TOWER] = limit + spare if any(TWO_TOWER in one for one in shares) else 0
    if wanted.exploring is not None:
        most[EXPLORE] = DRAWN
    return {source: length for source, length in most.items() if length or source in TELLING}


def ask(asked: Mapping[int, Source], wanted: Wanted, lengths: Mapping[int, int]) -> dict[int, Heard]:
    """Ask the sources for so many items each, one after another; those that this installation lacks stay silent."""
    return {source: asked[source](wanted, length) for source, length in lengths.items() if source in asked}


def propose(heard: Mapping[int, Heard], shares: Sequence[Shares], wanted: Wanted, limit: int) -> Proposals:
    """Unite what the sources propose: `limit` items, and as many more as filters may take away.

    Args:
        shares: those of the scenes that `wanted.scene` counts.
    """
    proposed = {source: said.proposed for source, said in heard.items()}
    if len(shares) == 1:
        return _united(proposed, shares[0], limit, len(wanted.scene))
    parts = []
    for place, one in enumerate(shares):
        rows = np.flatnonzero(wanted.scene == place)
        of_scene = {source: codes[rows] for source, codes in proposed.items()}
        parts.append((rows, _united(of_scene, one, limit, len(rows))))
    return together(parts)


def candidates(
    heard: Mapping[int, Heard], proposals: Proposals, dropped: tuple[Drop, ...] = (), silent: Sequence[str] = ()
) -> Candidates:
    """Each proposal with what every source says of it, whoever proposed it, and what was `dropped` on the way.

    Args:
        silent: names of the sources that failed or ran late; they say 0.

    Raises:
        Unavailable: there is no other source.
    """
    if silent and not any(said.proposed.size for said in heard.values()):
        raise Unavailable(f"none of the sources answered in time: {', '.join(silent)} were left out")
    signals = np.zeros((len(SIGNALS), *proposals.codes.shape), dtype=np.float32)
    for said in heard.values():
        for name, opinion in said.opinions.items():
            signals[SIGNALS.index(name)] = opinion.of(proposals.codes)
    signals[:, proposals.codes < 0] = 0.0
    explored = heard[EXPLORE].explored if EXPLORE in heard else None
    return Candidates(proposals.codes, proposals.source, signals, dropped, tuple(silent), explored)


def _united(proposed: Mapping[int, Codes], shares: Shares, limit: int, rows: int) -> Proposals:
    nearest = proposed.get(TWO_TOWER) if TWO_TOWER in shares else None
    others = {
        source: proposed[source][:, : places(shares, source, limit)]
        for source in shares
        if source not in (TWO_TOWER, EXPLORE) and source in proposed
    }
    if EXPLORE in proposed:  # its share is of the slate
        others[EXPLORE] = proposed[EXPLORE]
    return unite(np.empty((rows, 0), dtype=np.int32) if nearest is None else nearest, others, limit)
