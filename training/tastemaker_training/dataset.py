"""Training sets: the catalogue as the item tower sees it, and examples drawn from interactions.

Shapes as in `two_tower`: B users, L history, T targets, K items of a step, N items, E events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch

from tastemaker import columns
from tastemaker.features.profile import profile_matrix, rows_from_frame
from tastemaker.features.store import Features
from tastemaker.features.tower_inputs import SECONDS_PER_DAY, user_buckets
from tastemaker.ids import key_of, keys_of
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.two_tower import Batch, ItemInputs

SMOOTHING = 5.0  # events at the overall mean that every item's mean preference starts from
YEAR_CENTRE, YEAR_SPREAD = 1990.0, 20.0
WORD = re.compile(r"\w+")


def category_matrix(items: pa.Table, vocabulary: list[str]) -> Floats:
    """Membership of each item in each category, shape (N, G), 0 or 1."""
    place = {name: index for index, name in enumerate(vocabulary)}
    matrix = np.zeros((items.num_rows, len(vocabulary)), dtype=np.float32)
    for code, names in enumerate(items[columns.CATEGORIES].to_pylist()):
        matrix[code, [place[name] for name in names or () if name in place]] = 1.0
    return matrix


def item_inputs(
    items: pa.Table, categories: Floats, interactions: Interactions, liked: float, recipe: TwoTowerRecipe
) -> ItemInputs:
    """What the item tower knows: ids, categories, words, and statistics of `interactions` alone."""
    keys = keys_of(items[columns.ITEM_ID].to_pylist())
    halves = np.stack([keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)], axis=1) % np.uint64(recipe.id_buckets)
    unit = categories / np.maximum(np.linalg.norm(categories, axis=1, keepdims=True), 1.0)
    return ItemInputs(
        hashes=torch.from_numpy(halves.astype(np.int64)),
        categories=torch.from_numpy(unit),
        metadata=torch.from_numpy(item_metadata(items, interactions, liked)),
        words=torch.from_numpy(_words(items, recipe)),
    )


def item_metadata(items: pa.Table, interactions: Interactions, liked: float) -> Floats:
    """Facts of every item, shape (N, 6): year, mean preference, log events, log likes, year², whether it is new."""
    n = items.num_rows
    year = items[columns.RELEASE_YEAR].to_pandas().astype("float64")
    age = ((year.fillna(year.median()).fillna(YEAR_CENTRE) - YEAR_CENTRE) / YEAR_SPREAD).to_numpy()
    events = np.bincount(interactions.items, minlength=n)
    likes = np.bincount(interactions.items, weights=interactions.preferences >= liked, minlength=n)
    mean = float(interactions.preferences.mean())
    total = np.bincount(interactions.items, weights=interactions.preferences, minlength=n)
    average = (total + SMOOTHING * mean) / (events + SMOOTHING) - mean
    facts = [age, 2.5 * average, np.log1p(events), np.log1p(likes), age**2, events == 0]
    return np.stack(facts, axis=1).astype(np.float32)


def profiles_at(features: Features, user_ids: Sequence[str], timestamps: Ints, categories: int) -> Floats:
    """Profiles (B, P) of users as they were at given seconds since 1970, by the feature store's join in time."""
    asked = pd.DataFrame(
        {columns.USER_ID: list(user_ids), columns.EVENT_TIMESTAMP: pd.to_datetime(timestamps, unit="s", utc=True)}
    )
    return profile_matrix(rows_from_frame(features.historical(asked)), categories)


def latest_histories(interactions: Interactions, users: Ints, profiles: Floats, recipe: TwoTowerRecipe) -> Batch:
    """The newest events of V users as a batch without targets.

    Args:
        profiles: (V, P) of the same users.
    """
    length = recipe.history
    events = interactions.offsets[users + 1][:, None] - length + np.arange(length)
    known = events >= interactions.offsets[users][:, None]
    events = np.maximum(events, 0)
    last = interactions.timestamps[np.maximum(interactions.offsets[users + 1] - 1, 0)]
    days = np.maximum(last[:, None] - interactions.timestamps[events], 0) / SECONDS_PER_DAY
    nothing = torch.empty(0, dtype=torch.long)
    tensor = torch.from_numpy
    return Batch(
        history=tensor(np.where(known, interactions.items[events], -1)),
        preference=tensor(np.where(known, interactions.preferences[events], np.float32(0))),
        age=tensor(np.where(known, np.log1p(days), 0).astype(np.float32)),
        rank=tensor(np.broadcast_to(np.arange(length)[::-1].copy(), events.shape).copy()),
        user=tensor(user_buckets([interactions.user_ids[user] for user in users], recipe.user_buckets)),
        profile=tensor(profiles),
        targets=nothing,
        is_target=nothing,
        pool=nothing,
        log_q=nothing,
    )


@dataclass
class Sampler:
    """Draws examples from interactions, forever.

    A `future_share` of them cut a user's events at a random like and predict likes after it from the events before;
    the others predict likes left out at random from a random part of the rest. The first teaches what comes next, the
    second what belongs together; a slate needs both.
    """

    interactions: Interactions
    profiles: Floats  # (E + 1, P) the user's profile as of each event; the last row is that of a user without features
    liked: float
    recipe: TwoTowerRecipe
    random: np.random.Generator

    def __post_init__(self) -> None:
        data = self.interactions
        self._likes = np.flatnonzero(data.preferences >= self.liked)
        users = data.users
        count = np.bincount(users[self._likes], minlength=len(data.user_ids))
        self._end = np.cumsum(count)
        self._count = count
        # Heavy users are drawn more often, but by the square root of their likes.
        weight = np.where(count >= 2, np.sqrt(np.maximum(count, 1)), 0.0)
        self._chance = weight / weight.sum()
        per_like = (self._chance / np.maximum(count, 1))[users[self._likes]]
        self._target_share = np.bincount(data.items[self._likes], weights=per_like, minlength=len(data.item_ids))
        self._buckets = user_buckets(data.user_ids, self.recipe.user_buckets)

    def draw(self, size: int) -> Batch:
        """A batch of `size` users."""
        data, random = self.interactions, self.random
        user = random.choice(len(data.user_ids), size, p=self._chance)
        future = random.random(size) < self.recipe.future_share
        cut = self._cut(user)
        end = np.where(future, self._likes[cut], data.offsets[user + 1])
        targets, is_target = self._targets(user, cut, future)
        events = np.where(future[:, None], self._before(end), self._anywhere(user))
        known = events >= data.offsets[user][:, None]
        known &= ~(events[:, :, None] == targets[:, None, :]).any(axis=2)
        events = np.maximum(events, 0)
        items = data.items[targets]
        pool, log_q = self._pool(items[is_target])
        now = data.timestamps[end - ~future]
        days = np.maximum(now[:, None] - data.timestamps[events], 0) / SECONDS_PER_DAY
        # A random part of the events has no moment in time whose profile would not know the targets.
        profile = np.where(future, end, len(self.profiles) - 1)
        tensor = torch.from_numpy
        return Batch(
            history=tensor(np.where(known, data.items[events], -1)),
            preference=tensor(np.where(known, data.preferences[events], np.float32(0))),
            age=tensor(np.where(known, np.log1p(days), 0).astype(np.float32)),
            rank=tensor(np.where(known, np.maximum(end[:, None] - 1 - events, 0), 0)),
            user=tensor(self._buckets[user]),
            profile=tensor(self.profiles[profile]),
            targets=tensor(items),
            is_target=tensor(is_target),
            pool=tensor(pool),
            log_q=tensor(log_q),
        )

    def _cut(self, user: Ints) -> Ints:
        """A random like of each user, not their first, as its place among all likes."""
        count = self._count[user]
        start = self._end[user] - count
        step = np.maximum(1, (self.random.random(len(user)) * count).astype(np.int64))
        cut: Ints = np.minimum(start + step, self._end[user] - 1)
        return cut

    def _targets(self, user: Ints, cut: Ints, future: npt.NDArray[np.bool_]) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Events (B, T) of likes to predict, and which of them are not drawn twice."""
        first = np.where(future, cut, self._end[user] - self._count[user])
        last = np.where(future, np.minimum(self._end[user], cut + self.recipe.window), self._end[user])
        draw = self.random.random((len(user), self.recipe.targets))
        targets = self._likes[first[:, None] + (draw * (last - first)[:, None]).astype(np.int64)]
        earlier = np.tril(np.ones((self.recipe.targets, self.recipe.targets), dtype=bool), -1)
        repeated = ((targets[:, :, None] == targets[:, None, :]) & earlier).any(axis=2)
        return targets, ~repeated

    def _before(self, end: Ints) -> Ints:
        """The L events before `end`, newest last; those of another user come before the user's first."""
        return end[:, None] - self.recipe.history + np.arange(self.recipe.history)

    def _anywhere(self, user: Ints) -> Ints:
        """A random part of each user's events (B, L); -1 where there is none."""
        data, length = self.interactions, self.recipe.history
        count = np.diff(data.offsets)[user][:, None]
        sampled = data.offsets[user][:, None] + (self.random.random((len(user), length)) * count).astype(np.int64)
        events = np.where(count <= length, self._before(data.offsets[user + 1]), sampled)
        kept = self.random.random(events.shape) < 0.3 + 0.7 * self.random.random((len(user), 1))
        chosen: Ints = np.where(kept, events, -1)
        return chosen

    def _pool(self, targets: Ints) -> tuple[Ints, Floats]:
        """The batch's targets and uniform negatives, and log P(in the pool) of each (Yi et al. 2019, section 4)."""
        items, uniform = len(self.interactions.item_ids), self.recipe.uniform_negatives
        pool = np.unique(np.concatenate([targets, self.random.integers(0, items, uniform)]))
        expected = len(targets) * self._target_share[pool] + uniform / items
        return pool, np.log(-np.expm1(-expected)).astype(np.float32)


def _words(items: pa.Table, recipe: TwoTowerRecipe) -> Ints:
    """Hashed words of title and text, shape (N, W), padded with `token_buckets`."""
    rows = np.full((items.num_rows, recipe.tokens), recipe.token_buckets, dtype=np.int64)
    titles, texts = items[columns.TITLE].to_pylist(), items[columns.TEXT].to_pylist()
    for code, (title, text) in enumerate(zip(titles, texts, strict=True)):
        words = [*WORD.findall((title or "").lower()), *(f"text:{word}" for word in WORD.findall((text or "").lower()))]
        kept = list(dict.fromkeys(words))[: recipe.tokens]
        rows[code, : len(kept)] = [key_of(word) % recipe.token_buckets for word in kept]
    return rows
