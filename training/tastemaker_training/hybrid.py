"""The hybrid: every source proposes, and one ranker learns how much to believe each of them about whom.

The sources are fitted to the past, the ranker to what they say of a held-out slice, and the sources then once more to
everything. What is served is built the same way (`run`), from the sources that serving can afford.

B users, N items, S sources, C candidates, P profile width, I item features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tastemaker.features.cross import cross_features
from tastemaker_training.interactions import Floats, Interactions, Ints, Split
from tastemaker_training.ranker import loop as ranker_loop
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import RankerTask
from tastemaker_training.ranker.model import Ranker, logits
from tastemaker_training.recipes import HybridRecipe, Recipe
from tastemaker_training.sources.source import Source

PASS = 256
"""Users scored at once."""

Sources = Mapping[str, Source]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Hybrid:
    """Fitted sources and the ranker over them."""

    sources: Sources
    ranker: Ranker
    items: Tensor  # (N, I)
    recipe: HybridRecipe

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """The ranker's scores (B, N) of the candidates, minus infinity for all other items: Source.scores."""
        found = np.full((len(users), len(known.item_ids)), -np.inf, dtype=np.float32)
        for start in range(0, len(users), PASS):
            rows = users[start : start + PASS]
            proposed = propose(self.sources, known, rows, self.recipe.candidates)
            lists = lists_of(proposed, profiles(known, rows), np.zeros(proposed.codes.shape, dtype=bool))
            found_here = logits(self.ranker, lists, self.items)[..., 0].numpy()
            row, place = np.nonzero(proposed.codes >= 0)
            found[start + row, proposed.codes[row, place]] = found_here[row, place]
        return found


@dataclass(frozen=True)
class Proposed:
    """The union of what the sources propose to B users, in no order."""

    codes: npt.NDArray[np.int64]  # (B, C), -1 is padding
    signals: Floats  # (S, B, C) what each source says of each


def fit(past: Sources, whole: Sources, inner: Split, known: Interactions, recipe: Recipe, tell: Tell) -> Hybrid:
    """Fit the ranker.

    Args:
        past: fitted to the past of `inner` alone.
        whole: the same sources, fitted to all of `known`.
        inner: `known`, cut as the test was.
    """
    tell("the ranker's examples")
    lists = examples(past, inner, recipe.hybrid, recipe.seed)
    tell(f"fitting the ranker to {len(lists):,} lists")
    start = (1.0,) * len(past) + (0.0,) * len(past)  # of what sources say, standardised: their sum; and of its log
    task = RankerTask(recipe.ranker, lists, item_facts(inner.past), recipe.seed, start)
    return Hybrid(whole, ranker_loop.fit(task), item_facts(known), recipe.hybrid)


def examples(sources: Sources, inner: Split, recipe: HybridRecipe, seed: int) -> Lists:
    """What the sources propose to users in front of what they went on to like; lists without a like are left out."""
    users = np.flatnonzero(np.diff(inner.future.offsets) * np.diff(inner.past.offsets))
    if len(users) > recipe.lists:
        users = np.sort(np.random.default_rng(seed).choice(users, recipe.lists, replace=False))
    parts = []
    for rows in _passes(users):
        proposed = propose(sources, inner.past, rows, recipe.candidates)
        liked = [
            np.isin(codes, inner.future.items[inner.future.of(user)])
            for user, codes in zip(rows, proposed.codes, strict=True)
        ]
        parts.append(lists_of(proposed, profiles(inner.past, rows), np.stack(liked)))
    return Lists.joined(parts).worth()


def propose(sources: Sources, known: Interactions, users: Ints, each: int) -> Proposed:
    """The `each` best unseen items of every source, and what all sources say of them."""
    signals = np.stack([source.scores(known, users) for source in sources.values()])
    sizes = np.diff(known.offsets)[users]
    seen = np.concatenate([known.items[known.of(user)] for user in users])
    signals[:, np.repeat(np.arange(len(users)), sizes), seen] = -np.inf
    best = torch.from_numpy(signals).topk(min(each, signals.shape[2]), dim=2)  # (S, B, each)
    marked = np.zeros(signals.shape[1:], dtype=bool)
    for codes, values in zip(best.indices.numpy(), best.values.numpy(), strict=True):
        marked[np.arange(len(users))[:, None], codes] |= values > -np.inf
    counts = np.count_nonzero(marked, axis=1)
    codes = np.full((len(users), int(counts.max(initial=1))), -1, dtype=np.int64)
    row, code = np.nonzero(marked)
    codes[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = code
    return Proposed(codes, np.stack([np.take_along_axis(scores, np.maximum(codes, 0), axis=1) for scores in signals]))


def lists_of(proposed: Proposed, known: Floats, liked: npt.NDArray[np.bool_]) -> Lists:
    """The ranker's view of proposals, for users of profiles `known` (B, P)."""
    real = proposed.codes >= 0
    cross = cross_features(proposed.signals, real)
    nothing = torch.empty(len(known), 0)
    tensor = torch.from_numpy
    return Lists.of_likes(nothing, tensor(known), tensor(proposed.codes), tensor(cross), tensor(liked & real))


def profiles(known: Interactions, users: Ints) -> Floats:
    """What else the ranker knows of a user (B, 2): the log of the history's length, and how popular its items are."""
    popularity = np.log1p(np.bincount(known.items, minlength=len(known.item_ids)))
    sizes = np.diff(known.offsets)
    sums = np.concatenate([[0], np.cumsum(popularity[known.items])])
    mean = (sums[known.offsets[users + 1]] - sums[known.offsets[users]]) / np.maximum(sizes[users], 1)
    return np.stack([np.log1p(sizes[users]), mean], axis=1).astype(np.float32)


def item_facts(known: Interactions) -> Tensor:
    """What the ranker knows of an item besides: the log of its events (N, 1)."""
    events = np.bincount(known.items, minlength=len(known.item_ids))
    return torch.from_numpy(np.log1p(events).astype(np.float32)[:, None])


def _passes(users: Ints) -> Iterator[Ints]:
    return (users[start : start + PASS] for start in range(0, len(users), PASS))
