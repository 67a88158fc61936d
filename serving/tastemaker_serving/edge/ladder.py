"""The fallback ladder: pure functions from what is known to a slate.

Each rung proposes picks lazily, best first; `climb_down` takes from the best rung that has any and tops up from the
next ones. Scores are on the scale of their source and not comparable between sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np

from tastemaker.demographics import popular_among
from tastemaker.features.trail import Trail
from tastemaker.types import ServedFrom, SlateItem
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.standing import Standing
from tastemaker_serving.edge.text_index import Hit
from tastemaker_serving.wire import PINNED, PINNED_REASON, RankedSlate

RECENT = 20
"""Events that the session rung looks at: item-to-item retrieval gains little from older ones."""
CATEGORIES = 3
"""Categories that the segment rung mixes."""


class Pick(NamedTuple):
    """An item that a rung proposes."""

    item_id: str
    score: float
    source: str
    reason: str


Rung = tuple[ServedFrom, Iterable[Pick]]


def climb_down(
    rungs: Iterable[Rung],
    n: int,
    leave_out: Set[str],
    standing: Standing | None = None,
    seen: Set[str] = frozenset(),
) -> tuple[ServedFrom, tuple[SlateItem, ...]]:
    """The best `n` picks, none doubled, and the first rung that gave one.

    Fewer than `n` items, or none (from `static`), mean that the rungs have no more that the rules admit.

    Args:
        leave_out: item ids that must not come.
        standing: hard rules: no banned item, no more of a group than its cap, pinned items at their places.
        seen: item ids that come only where they are pinned.
    """
    banned = frozenset[str]() if standing is None else standing.banned
    pinned = {} if standing is None else standing.pinned(leave_out, n)
    quotas = [] if standing is None else standing.quotas()
    kept = set(pinned.values())
    for quota in quotas:
        for item_id in kept:
            quota.take(item_id)
    chosen: dict[str, Pick] = {}
    served_from: ServedFrom | None = None
    for name, picks in rungs:
        for pick in picks:
            item_id = pick.item_id
            if len(chosen) + len(pinned) == n:
                break
            if item_id in leave_out or item_id in seen or item_id in banned or item_id in chosen or item_id in kept:
                continue
            if all(quota.admits(item_id) for quota in quotas):
                chosen[item_id] = pick
                served_from = served_from or name
                for quota in quotas:
                    quota.take(item_id)
        if len(chosen) + len(pinned) == n:
            break
    return served_from or "static", _in_place(chosen.values(), pinned)


def _in_place(picks: Iterable[Pick], pinned: Mapping[int, str]) -> tuple[SlateItem, ...]:
    """The picks in their order around the pinned items; where they are too few, these move up."""
    slate = list(picks)
    for place, item_id in sorted(pinned.items()):
        slate.insert(place, Pick(item_id, 0.0, PINNED, PINNED_REASON))
    return tuple(
        SlateItem(pick.item_id, pick.score, position, pick.source, pick.reason) for position, pick in enumerate(slate)
    )


def ranked(slate: RankedSlate) -> Iterator[Pick]:
    """What the models answered."""
    return map(Pick, slate.item_ids, slate.scores, slate.sources, slate.reasons)


def personal(slate: RankedSlate, picks: Iterable[Pick]) -> Iterator[Pick]:
    """The `picks` that the models were asked to rank, in their order."""
    named = {pick.item_id: pick for pick in picks}
    for item_id, score in zip(slate.item_ids, slate.scores, strict=True):
        if item_id in named:
            yield named[item_id]._replace(score=score)


def stale(items: Iterable[SlateItem]) -> Iterator[Pick]:
    """An old slate."""
    return (Pick(item.item_id, item.score, item.source, item.reason) for item in items)


def session(shelf: Shelf, trail: Trail) -> Iterator[Pick]:
    """Neighbours of the items that the user liked last; what is near a disliked item sinks.

    A candidate's score is the sum over the last `RECENT` events of preference x item-to-item weight; its reason is
    the event that gave most.
    """
    recent = trail[-RECENT:]
    codes = shelf.codes_of(recent["item"])
    known = codes >= 0
    seeds, preference = codes[known], recent["preference"][known]
    neighbours = shelf.neighbours[seeds].astype(np.int64)
    weights = shelf.neighbour_weights[seeds] * preference[:, None]
    real = neighbours >= 0
    seed_of = np.broadcast_to(seeds[:, None], neighbours.shape)[real]
    candidates, place = np.unique(neighbours[real], return_inverse=True)
    scores = np.bincount(place, weights=weights[real], minlength=len(candidates))
    by_weight = np.argsort(weights[real], kind="stable")
    best_seed = np.zeros(len(candidates), dtype=np.int64)
    best_seed[place[by_weight]] = seed_of[by_weight]
    for at in np.argsort(-scores, kind="stable"):
        if scores[at] <= 0:
            return
        reason = f"Because you liked {shelf.titles[best_seed[at]]}"
        yield Pick(shelf.item_ids[candidates[at]], float(scores[at]), "item-to-item", reason)


def neighbours_of(shelf: Shelf, code: int) -> Iterator[Pick]:
    """Items near one item."""
    reason = f"Similar to {shelf.titles[code]}"
    for neighbour, weight in zip(shelf.neighbours[code].tolist(), shelf.neighbour_weights[code].tolist(), strict=True):
        if neighbour >= 0:
            yield Pick(shelf.item_ids[neighbour], weight, "item-to-item", reason)


def text(hits: Iterable[Hit]) -> Iterator[Pick]:
    """What a search found."""
    return (Pick(hit.item_id, hit.score, "text", "Matches your search") for hit in hits)


def strongest_categories(shelf: Shelf, trail: Trail) -> list[str]:
    """The categories that the user's preferences sum highest in, strongest first, at most `CATEGORIES`."""
    totals: dict[str, float] = {}
    for code, preference in zip(shelf.codes_of(trail["item"]).tolist(), trail["preference"].tolist(), strict=True):
        for name in shelf.categories[code] if code >= 0 else ():
            totals[name] = totals.get(name, 0.0) + preference
    liked = [name for name, total in totals.items() if total > 0]
    return sorted(liked, key=lambda name: -totals[name])[:CATEGORIES]


def segment(shelf: Shelf, categories: Sequence[str]) -> Iterator[Pick]:
    """What is popular with users whose strongest categories these are, taken in turn."""
    return _in_turn(
        _popular(shelf, shelf.popular_for.get(name) or shelf.popular_in.get(name, ()), f"Popular in {name}")
        for name in categories
    )


def demographic(shelf: Shelf, country: str | None, device: str | None) -> Iterator[Pick]:
    """What is popular among people like a user of whom nothing but a profile is known."""
    codes = popular_among(shelf.popular_among, country, device)
    return _popular(shelf, codes, "Popular with people like you")


def popular_in(shelf: Shelf, categories: Sequence[str]) -> Iterator[Pick]:
    """The most popular items of the categories, taken in turn."""
    return _in_turn(_popular(shelf, shelf.popular_in.get(name, ()), f"Popular in {name}") for name in categories)


def trending(shelf: Shelf, hot: Iterable[tuple[int, float]]) -> Iterator[Pick]:
    """What users do now: codes with their decayed counts."""
    return (Pick(shelf.item_ids[code], score, "trending", "Trending now") for code, score in hot)


def static(shelf: Shelf) -> Iterator[Pick]:
    """The whole catalogue, most popular first: the list that travelled in the bundle."""
    return _popular(shelf, shelf.popular, "Popular with everyone")


def young(shelf: Shelf, since: float | None, picks: Iterable[Pick]) -> Iterator[Pick]:
    """The `picks` that came out `since` (epoch seconds); all of them where that is None."""
    published, code_of = shelf.attributes.published, shelf.code_of
    return (pick for pick in picks if since is None or published[code_of[pick.item_id]] >= since)


def _popular(shelf: Shelf, codes: Iterable[int], reason: str) -> Iterator[Pick]:
    for rank, code in enumerate(codes, start=1):
        yield Pick(shelf.item_ids[code], 1.0 / rank, "popular", reason)


def _in_turn(lists: Iterable[Iterator[Pick]]) -> Iterator[Pick]:
    return (pick for pick in chain.from_iterable(zip_longest(*lists)) if pick is not None)
