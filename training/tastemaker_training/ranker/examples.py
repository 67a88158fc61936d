"""The ranker's examples: what retrieval, fitted to older events, proposes in front of newer ones.

Retrieval never saw the slice of events that the likes are taken from, so its scores are as trustworthy there as they
will be in serving.

B users of a pass, Q lists, N items, C candidates, L history, P profile width, E events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tastemaker import retrieval
from tastemaker.candidates import Candidates, Codes, Shares, among, strongest_category
from tastemaker.errors import InvalidInput
from tastemaker.features.cross import cross_features
from tastemaker.features.tower_inputs import SECONDS_PER_DAY, session_lengths, user_buckets
from tastemaker.heads import HEADS
from tastemaker.retrieval import Retrieval, Wanted
from tastemaker_training.interactions import Flags, Floats, Interactions, Ints, Split
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.recipes import Recipe
from tastemaker_training.towers.two_tower import ServedUserTower

SHORTEST_HISTORY = 5
"""Events that a user must have before a list is made, wherever somebody has as many and goes on to like an item."""
MOST_LISTS = 20_000
"""Lists beyond this are left out at random: 1,000 candidates each take half a gigabyte together."""
PASS = 64
"""Users retrieved for at once."""


@dataclass(frozen=True)
class Proposer:
    """Everything that proposes candidates, fitted to the same events."""

    tower: ServedUserTower
    model: Retrieval
    categories: int  # of the vocabulary
    shares: Shares  # of a list, those of the scene that the ranker shall be best at
    limit: int  # candidates of a list


@dataclass(frozen=True)
class Moments:
    """Q moments: before an event of a user's."""

    users: Ints  # (Q,) user codes
    events: Ints  # (Q,) the first event that the user has not had yet
    ends: Ints  # (Q,) the event behind the user's last


def examples(past: Interactions, inner: Split, profiles: Floats, proposer: Proposer, recipe: Recipe) -> Lists:
    """Lists at moments in the held-out slice `inner.future` of `past`, with the heads that the slice tells apart.

    Args:
        profiles: of every event of `past`, its user's profile just before it (E, P).
        proposer: fitted to `inner.past` alone.

    Raises:
        InvalidInput: not one list holds a liked candidate.
    """
    moments = _moments(past, inner, recipe)
    parts = [_lists(past, part, profiles[part.events], proposer, recipe) for part in _passes(moments)]
    lists = Lists.joined(parts) if parts else None
    if lists is None or not lists.labels[..., 0].any():
        raise InvalidInput(
            "no user liked a candidate in the validation slice, so the ranker has nothing to learn from",
            "Import more events, or raise `validation` in a recipe of your own (`tastemaker train --recipe FILE.yaml`)",
        )
    return lists.with_heads(told_apart(lists))


def told_apart(lists: Lists) -> list[str]:
    """The heads whose labels are neither none at all nor those of a head before."""
    heads: list[int] = []
    for head in range(len(lists.heads)):
        labels = lists.labels[..., head]
        if labels.any() and not any(torch.equal(labels, lists.labels[..., other]) for other in heads):
            heads.append(head)
    return [lists.heads[head] for head in heads]


def candidates(
    proposer: Proposer,
    user_vectors: Floats,
    profiles: Floats,
    history: Codes,
    preference: Floats,
    age: Floats,
    seen: Codes,
) -> Candidates:
    """What serving would propose to B users, by the same rules, from user vectors (B, D) and profiles (B, P).

    Args:
        history: (B, L) newest last. preference: (B, L). age: log1p(days), (B, L).
        seen: (B, S), none of them is proposed.
    """
    affinity = profiles[:, profiles.shape[1] - proposer.categories :]
    nothing, scene = np.empty((len(seen), 0), dtype=np.int32), np.zeros(len(seen), dtype=np.int32)
    session, segment = session_lengths(history, age), strongest_category(affinity)
    wanted = Wanted(user_vectors, history, preference, segment, seen, nothing, session, scene)
    shares, limit = [proposer.shares], proposer.limit
    heard = retrieval.ask(retrieval.sources(proposer.model), wanted, retrieval.lengths(shares, wanted, limit))
    proposed = retrieval.propose(heard, shares, wanted, limit)
    unseen = proposed.select((proposed.codes >= 0) & ~among(proposed.codes, seen)).head(limit)
    return retrieval.candidates(heard, unseen)


def _moments(past: Interactions, inner: Split, recipe: Recipe) -> Moments:
    """The start of each user's slice, and as many moments spread over it as the recipe wants."""
    starts = past.offsets[:-1] + np.diff(inner.past.offsets)
    held_out = np.diff(inner.future.offsets)
    parts = range(recipe.ranker.histories)
    events = np.concatenate([starts + part * held_out // len(parts) for part in parts])
    users = np.tile(np.arange(len(starts)), len(parts))
    ends = past.offsets[1:][users]
    asked, history = np.tile(held_out, len(parts)) > 0, events - past.offsets[users]
    likes = np.concatenate([[0], np.cumsum(past.preferences >= recipe.liked)])
    worth = asked & (history >= SHORTEST_HISTORY)
    if not (likes[ends] > likes[events])[worth].any():  # histories are short here
        worth = asked & (history > 0)
    chosen = np.flatnonzero(worth)
    if len(chosen) > MOST_LISTS:
        chosen = np.sort(np.random.default_rng(recipe.seed).choice(chosen, MOST_LISTS, replace=False))
    return Moments(users[chosen], events[chosen], ends[chosen])


def _passes(moments: Moments) -> Iterator[Moments]:
    for start in range(0, len(moments.users), PASS):
        rows = slice(start, start + PASS)
        yield Moments(moments.users[rows], moments.events[rows], moments.ends[rows])


def _lists(past: Interactions, moments: Moments, profiles: Floats, proposer: Proposer, recipe: Recipe) -> Lists:
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
        user_vectors = proposer.tower(*map(torch.from_numpy, inputs))
    found = candidates(proposer, user_vectors.numpy(), profiles, history, preference, age, seen)
    cross = cross_features(found.signals, found.codes >= 0)
    labels, disliked = _labels(past, moments, found.codes, recipe.liked)
    tensor = torch.from_numpy
    return Lists(
        users=tensor(moments.users),
        user_vectors=user_vectors,
        profiles=tensor(profiles),
        codes=tensor(found.codes.astype(np.int64)),
        cross=tensor(cross),
        labels=tensor(labels),
        disliked=tensor(disliked),
        weight=torch.ones(found.codes.shape),
        heads=HEADS,
    )


def _labels(past: Interactions, moments: Moments, codes: Codes, liked: float) -> tuple[Flags, Flags]:
    """What came of the candidates `codes` (B, C) after each moment: by head (B, C, T), and disliked (B, C)."""
    future, events = _aligned(past, moments.events, moments.ends)
    preference = past.preferences[events]
    completed = np.zeros_like(future, dtype=bool) if past.completed is None else past.completed[events]
    of = {"like": preference >= liked, "completion": completed & (preference > 0), "click": preference > 0}

    def those(told: Flags) -> Flags:
        return among(codes, np.where(told, future, -1).astype(np.int32))

    return np.stack([those(of[head]) for head in HEADS], axis=-1), those(preference < 0)


def _aligned(past: Interactions, starts: Ints, ends: Ints) -> tuple[Codes, Ints]:
    """Items and events of the ranges `starts` to `ends` (B,), newest last; before the oldest -1 as item, 0 as event."""
    events = ends[:, None] - np.arange(max(1, int((ends - starts).max())), 0, -1)
    known = events >= starts[:, None]
    events = np.where(known, events, 0)
    return np.where(known, past.items[events], -1).astype(np.int32), events
