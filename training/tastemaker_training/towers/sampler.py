"""Examples drawn from interactions: histories, moments in them, and what the user liked next.

Shapes as in `two_tower`: B users, L history, M moments, T targets of each, K items of a step, N items, E events.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from tastemaker.errors import InvalidInput
from tastemaker.features.tower_inputs import SECONDS_PER_DAY, user_buckets
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.sufficiency import learnable
from tastemaker_training.towers.two_tower import Batch, Histories, Part

Bools = npt.NDArray[np.bool_]

PARTS = 4
"""Parts of a batch, by the length of histories: short ones need no padding to the longest."""


def latest_histories(interactions: Interactions, users: Ints, profiles: Floats, recipe: TwoTowerRecipe) -> Histories:
    """The newest events of V users, as of the last.

    Args:
        profiles: (V, P) of the same users.
    """
    events = _before(interactions.offsets[users + 1], interactions.offsets[users], recipe.history)
    newest = np.full((len(users), 1), recipe.history - 1)
    buckets = user_buckets([interactions.user_ids[user] for user in users], recipe.user_buckets)
    return _histories(interactions, events, newest, buckets, profiles[:, None])


@dataclass
class Sampler:
    """Draws examples from interactions, forever.

    In a `future_share` of them a user is known up to some of their events, and a like soon after each is to be
    predicted (at many moments of a history at once: Kang & McAuley 2018, Pancha et al. 2022). In the others some likes
    are left out and predicted from a random part of the rest. The first teaches what comes next, the second what
    belongs together; a slate needs both.

    Raises:
        InvalidInput: there is no user to learn from.
    """

    interactions: Interactions
    profiles: Floats  # (E + 1, P) the user's profile as of each event; the last row is that of a user without features
    liked: float
    recipe: TwoTowerRecipe
    random: np.random.Generator

    def __post_init__(self) -> None:
        data = self.interactions
        self._likes = np.flatnonzero(data.preferences >= self.liked)
        users = data.users[self._likes]
        count = np.bincount(users, minlength=len(data.user_ids))
        self._ends = np.cumsum(count)  # of each user's likes among all
        self._starts = self._ends - count
        # Heavy users are drawn more often, but by the square root of their likes.
        chance = np.where(learnable(data, self.liked), np.sqrt(count), 0.0)
        if not chance.any():
            raise InvalidInput(
                f"none of {len(data.user_ids)} users to draw from has a like beside another event",
                "Import more events, or train with fewer workers, which share the users out among them",
            )
        chance /= chance.sum()
        self._chance = np.cumsum(chance)
        share = (chance / np.maximum(count, 1))[users]
        self._target_share = np.bincount(data.items[self._likes], weights=share, minlength=len(data.item_ids))
        self._buckets = user_buckets(data.user_ids, self.recipe.user_buckets)

    def draw(self, size: int) -> Batch:
        """A batch of `size` users."""
        lot = self.random.random(size)
        users = np.minimum(np.searchsorted(self._chance, lot, side="right"), len(self._chance) - 1)
        users = users[np.argsort(np.diff(self.interactions.offsets)[users], kind="stable")]
        parts = [part for some in np.array_split(users, min(PARTS, size)) for part in self._parts(some)]
        pool, log_q = self._pool(torch.cat([part.targets[part.is_target] for part in parts]).numpy())
        return Batch(tuple(parts), torch.from_numpy(pool), torch.from_numpy(log_q))

    def _parts(self, users: Ints) -> list[Part]:
        """Examples of some of a batch's users, by kind."""
        future = self.random.random(len(users)) < self.recipe.future_share
        kinds = (self._followed, users[future]), (self._incomplete, users[~future])
        return [examples(some) for examples, some in kinds if len(some)]

    def _followed(self, users: Ints) -> Part:
        """Users known up to some of their events, and likes soon after each."""
        data, length = self.interactions, self.recipe.history
        first, end = data.offsets[users], data.offsets[users + 1]
        spare = np.maximum(end - first - (length + 1), 0)
        end = end - (self.random.random(len(users)) * (spare + 1)).astype(np.int64)
        # Likes within the stretch that have an event before them: each ends a moment.
        low = np.searchsorted(self._likes, np.maximum(first, end - 1 - length) + 1)
        following, exists = self._some(low, np.searchsorted(self._likes, end), self.recipe.moments)
        reach = np.minimum(following + self.recipe.window, self._ends[users][:, None])
        likes, is_target = self._some(following.ravel(), reach.ravel(), self.recipe.targets)
        shape = (*following.shape, -1)
        before = self._likes[np.where(exists, following, 0)]
        at = np.where(exists, before - 1 - (end[:, None] - 1 - length), length - 1)
        histories = _histories(data, _before(end - 1, first, length), at, self._buckets[users], self.profiles[before])
        return self._asked(histories, likes.reshape(shape), is_target.reshape(shape) & exists[:, :, None])

    def _incomplete(self, users: Ints) -> Part:
        """A random part of each user's events, and likes that are left out of it."""
        data, length = self.interactions, self.recipe.history
        likes, is_target = self._some(self._starts[users], self._ends[users], self.recipe.targets, most=0.5)
        left_out = np.where(is_target, data.items[self._likes[np.where(is_target, likes, 0)]], -1)
        events, known = self._some(data.offsets[users], data.offsets[users + 1], length)
        events = np.where(known, events, 0)
        known &= self.random.random(events.shape) < 0.3 + 0.7 * self.random.random((len(users), 1))
        known &= ~(data.items[events][:, :, None] == left_out[:, None, :]).any(axis=2)
        kept = np.take_along_axis(np.where(known, events, -1), np.argsort(known, axis=1, kind="stable"), axis=1)
        # A random part of the events has no moment in time whose profile would not know the targets.
        nobody = np.broadcast_to(self.profiles[-1], (len(users), 1, self.profiles.shape[1])).copy()
        newest = np.full((len(users), 1), length - 1)
        histories = _histories(data, kept, newest, self._buckets[users], nobody)
        return self._asked(histories, likes[:, None], is_target[:, None])

    def _asked(self, histories: Histories, likes: Ints, is_target: Bools) -> Part:
        """The examples, whose targets are `likes` (B, M, T) where `is_target`, without what none of them needs."""
        moments = max(1, int(is_target.any(axis=2).sum(axis=1).max()))
        is_target = is_target[:, :moments, : max(1, int(is_target.sum(axis=2).max()))]
        likes = np.where(is_target, likes[:, :moments, : is_target.shape[2]], 0)
        histories = replace(histories, at=histories.at[:, :moments], profile=histories.profile[:, :moments])
        return Part(histories, *map(torch.from_numpy, (self.interactions.items[self._likes[likes]], is_target)))

    def _some(self, low: Ints, high: Ints, count: int, most: float = 1.0) -> tuple[Ints, Bools]:
        """Up to `count` distinct numbers of each range, evenly spaced from a random start (systematic sampling).

        Every number of a range is as likely. Returns them, ascending, and which of the (B, `count`) there are.

        Args:
            most: share of a range that may be taken.
        """
        size = (high - low)[:, None]
        step = np.maximum(size / count, 1 / most)
        place = ((np.arange(count) + self.random.random((len(low), 1))) * step).astype(np.int64)
        return low[:, None] + place, place < size

    def _pool(self, targets: Ints) -> tuple[Ints, Floats]:
        """The batch's targets and uniform negatives, and log P(in the pool) of each (Yi et al. 2019, section 4)."""
        items, uniform = len(self.interactions.item_ids), self.recipe.uniform_negatives
        pool = np.unique(np.concatenate([targets, self.random.integers(0, items, uniform)]))
        expected = len(targets) * self._target_share[pool] + uniform / items
        return pool, np.log(-np.expm1(-expected)).astype(np.float32)


def _before(end: Ints, first: Ints, length: int) -> Ints:
    """The `length` events before each `end` (B,), newest last; -1 for those before `first` (B,)."""
    events = end[:, None] - length + np.arange(length)
    return np.where(events >= first[:, None], events, -1)


def _histories(data: Interactions, events: Ints, at: Ints, buckets: Ints, profiles: Floats) -> Histories:
    """Histories of `events` (B, L), of which -1, padding, comes first; slots that nobody needs are cut off."""
    known = events >= 0
    needed = max(1, int(known.sum(axis=1).max(initial=0)))
    events, known, at = events[:, -needed:], known[:, -needed:], at - (events.shape[1] - needed)
    times = data.timestamps[events]
    days = (times[:, -1:] - times) / SECONDS_PER_DAY
    return Histories(
        *map(
            torch.from_numpy,
            (
                np.where(known, data.items[events], -1),
                np.where(known, data.preferences[events], np.float32(0)),
                np.where(known, np.log1p(np.maximum(days, 0)), 0).astype(np.float32),
                buckets,
                np.maximum(at, 0),
                profiles,
            ),
        )
    )
