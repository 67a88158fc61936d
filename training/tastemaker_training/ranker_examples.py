"""The ranker's examples: what retrieval, fitted to older events, proposes in front of newer ones.

Retrieval never saw the slice of events that the likes are taken from, so its scores are as trustworthy there as they
will be in serving.

B users of a pass, Q lists, N items, C candidates, L history, P profile width, E events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch

from tastemaker.candidates import Candidates, Codes, among, largest, strongest_category, unite
from tastemaker.errors import InvalidInput
from tastemaker.features.cross import LASTING, RECENT, cross_features, item_to_item
from tastemaker.features.tower_inputs import SECONDS_PER_DAY, user_buckets
from tastemaker_training.interactions import Floats, Interactions, Ints, Split
from tastemaker_training.neighbours import Neighbours
from tastemaker_training.ranker import Lists
from tastemaker_training.recipes import Recipe
from tastemaker_training.two_tower import ServedUserTower

SHORTEST_HISTORY = 5
"""Events that a user must have before a list is made."""
MOST_LISTS = 20_000
"""Lists beyond this are left out at random: 1,000 candidates each take half a gigabyte together."""
PASS = 64
"""Users retrieved for at once."""


@dataclass(frozen=True)
class Retrieval:
    """Everything that proposes candidates, fitted to the same events."""

    tower: ServedUserTower
    vectors: Floats  # (N, D)
    neighbours: Neighbours
    popular: Codes  # (G + 1, M), see candidates.popular_table
    limit: int  # candidates of a list


@dataclass(frozen=True)
class Moments:
    """Q moments: before an event of a user's."""

    users: Ints  # (Q,) user codes
    events: Ints  # (Q,) the first event that the user has not had yet
    ends: Ints  # (Q,) the event behind the user's last


def examples(past: Interactions, inner: Split, profiles: Floats, retrieval: Retrieval, recipe: Recipe) -> Lists:
    """Lists at moments in the held-out slice `inner.future` of `past`, without those where no candidate was liked.

    Args:
        profiles: of every event of `past`, its user's profile just before it (E, P).
        retrieval: fitted to `inner.past` alone.

    Raises:
        InvalidInput: not one list holds a liked candidate.
    """
    moments = _moments(past, inner, recipe)
    parts = [_lists(past, part, profiles[part.events], retrieval, recipe) for part in _passes(moments)]
    lists = _joined(parts) if parts else None
    if lists is None or not lists.liked.any():
        raise InvalidInput(
            "no user liked a candidate in the validation slice, so the ranker has nothing to learn from",
            "Import more events, or raise `validation` in the recipe",
        )
    return lists.take(lists.liked.any(1).nonzero()[:, 0])


def candidates(
    retrieval: Retrieval, user_vectors: Floats, profiles: Floats, history: Codes, preference: Floats, seen: Codes
) -> Candidates:
    """What serving would propose to B users, by the same rules, from user vectors (B, D) and profiles (B, P).

    Args:
        history: (B, L) newest last. preference: (B, L). seen: (B, S), none of them is proposed.
    """
    table = retrieval.neighbours.codes, retrieval.neighbours.weights
    votes, recent = (item_to_item(*table, history, preference, seen, memory) for memory in (LASTING, RECENT))
    products = user_vectors @ retrieval.vectors.T
    affinity = profiles[:, profiles.shape[1] - len(retrieval.popular) + 1 :]
    nearest = largest(products, retrieval.limit + seen.shape[1])
    proposed = unite(nearest, votes, retrieval.popular[strongest_category(affinity)], retrieval.limit)
    unseen = proposed.select((proposed.codes >= 0) & ~among(proposed.codes, seen)).head(retrieval.limit)
    scores = (np.take_along_axis(every, unseen.codes, axis=1) for every in (products, votes, recent))
    return Candidates(unseen.codes, unseen.source, *scores)


def _moments(past: Interactions, inner: Split, recipe: Recipe) -> Moments:
    """The start of each user's slice, and as many moments spread over it as the recipe wants."""
    starts = past.offsets[:-1] + np.diff(inner.past.offsets)
    held_out = np.diff(inner.future.offsets)
    parts = range(recipe.ranker.histories)
    events = np.concatenate([starts + part * held_out // len(parts) for part in parts])
    users = np.tile(np.arange(len(starts)), len(parts))
    ends = past.offsets[1:][users]
    worth = (np.tile(held_out, len(parts)) > 0) & (events - past.offsets[users] >= SHORTEST_HISTORY)
    chosen = np.flatnonzero(worth)
    if len(chosen) > MOST_LISTS:
        chosen = np.sort(np.random.default_rng(recipe.seed).choice(chosen, MOST_LISTS, replace=False))
    return Moments(users[chosen], events[chosen], ends[chosen])


def _passes(moments: Moments) -> Iterator[Moments]:
    for start in range(0, len(moments.users), PASS):
        rows = slice(start, start + PASS)
        yield Moments(moments.users[rows], moments.events[rows], moments.ends[rows])


def _lists(past: Interactions, moments: Moments, profiles: Floats, retrieval: Retrieval, recipe: Recipe) -> Lists:
    seen, _ = _aligned(past, past.offsets[moments.users], moments.events)
    first = np.maximum(past.offsets[moments.users], moments.events - recipe.two_tower.history)
    history, events = _aligned(past, first, moments.events)
    known = history >= 0
    preference = np.where(known, past.preferences[events], np.float32(0))
    days = np.maximum(past.timestamps[moments.events][:, None] - past.timestamps[events], 0) / SECONDS_PER_DAY
    age = np.where(known, np.log1p(days), 0).astype(np.float32)
    buckets = user_buckets([past.user_ids[user] for user in moments.users], recipe.two_tower.user_buckets)
    with torch.no_grad():
        inputs = (history.astype(np.int64), preference, age, buckets, profiles)
        user_vectors = retrieval.tower(*map(torch.from_numpy, inputs))
    found = candidates(retrieval, user_vectors.numpy(), profiles, history, preference, seen)
    future, events = _aligned(past, moments.events, moments.ends)
    liked = np.where(past.preferences[events] >= recipe.liked, future, -1).astype(np.int32)
    cross = cross_features(found.codes, found.two_tower, found.item_to_item, found.recent)
    codes, labels = found.codes.astype(np.int64), among(found.codes, liked)
    return Lists(user_vectors, *map(torch.from_numpy, (profiles, codes, cross, labels)))


def _aligned(past: Interactions, starts: Ints, ends: Ints) -> tuple[Codes, Ints]:
    """Items and events of the ranges `starts` to `ends` (B,), newest last; before the oldest -1 as item, 0 as event."""
    events = ends[:, None] - np.arange(max(1, int((ends - starts).max())), 0, -1)
    known = events >= starts[:, None]
    events = np.where(known, events, 0)
    return np.where(known, past.items[events], -1).astype(np.int32), events


def _joined(parts: list[Lists]) -> Lists:
    """All lists in one, padded to the longest."""
    width = max(part.codes.shape[1] for part in parts)
    padded = [part.widened(width) for part in parts]
    return Lists(*(torch.cat([getattr(part, field.name) for part in padded]) for field in fields(Lists)))
