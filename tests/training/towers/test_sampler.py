from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker_training import recipes
from tastemaker_training.interactions import Interactions, from_lake
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.towers.sampler import Sampler

RECIPE = replace(recipes.smoke().two_tower, window=1, moments=20)
LIKED = 0.6


@pytest.fixture(scope="module")
def interactions(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    return from_lake(two_tastes, catalogue, Settings())


def _sampler(interactions: Interactions, recipe: TwoTowerRecipe) -> Sampler:
    profiles = np.arange(len(interactions.items) + 1, dtype=np.float32)[:, None]
    return Sampler(interactions, profiles, LIKED, recipe, np.random.default_rng(0))


def test_the_next_like_follows_the_moment(interactions: Interactions) -> None:
    for part in _sampler(interactions, replace(RECIPE, future_share=1.0)).draw(32).parts:
        histories = part.histories
        assert part.targets.shape[2] == 1
        rows, places, _ = np.nonzero(part.is_target.numpy())
        events = histories.profile[rows, places, 0].long().numpy()
        # The profile is as of just before the target, and the history is known up to the event before it.
        assert np.array_equal(interactions.items[events], part.targets[rows, places, 0])
        assert np.array_equal(interactions.items[events - 1], histories.items[rows, histories.at[rows, places]])


def test_every_moment_of_a_short_history_is_used_once(interactions: Interactions) -> None:
    for part in _sampler(interactions, replace(RECIPE, future_share=1.0)).draw(32).parts:
        assert part.is_target.all()
        assert part.targets.shape[1] == 13  # of fourteen likes all but the first
        assert all(len(set(row.flatten().tolist())) == 13 for row in part.targets)


def test_a_window_looks_further_ahead(interactions: Interactions) -> None:
    ahead: set[int] = set()
    for part in _sampler(interactions, replace(RECIPE, future_share=1.0, window=8)).draw(256).parts:
        places = (part.histories.items[:, None, None] == part.targets[..., None]) & part.is_target[..., None]
        rows, moments, _, slots = np.nonzero(places.numpy())
        ahead |= set((slots - part.histories.at[rows, moments].numpy()).tolist())
    assert ahead == set(range(1, 9))


def test_what_is_left_out_is_not_in_the_history(interactions: Interactions) -> None:
    sampler = _sampler(interactions, replace(RECIPE, future_share=0.0))
    for part in sampler.draw(200).parts:
        shown, targets = part.histories.items, torch.where(part.is_target, part.targets, -2)[:, 0]
        assert not (shown[:, :, None] == targets[:, None, :]).any()
        assert (part.histories.profile == len(interactions.items)).all()  # no moment in time
        known = shown >= 0
        assert (known[:, 1:] >= known[:, :-1]).all()  # padding comes first


def test_targets_are_liked_and_in_the_pool(interactions: Interactions) -> None:
    loved = [set(interactions.items[interactions.of(user)][:14].tolist()) for user in range(60)]
    batch = _sampler(interactions, RECIPE).draw(64)
    assert torch.equal(batch.pool, torch.unique(batch.pool))
    for part in batch.parts:
        for targets, real in zip(part.targets, part.is_target, strict=True):
            assert torch.isin(targets[real], batch.pool).all()
            assert any(set(targets[real].tolist()) <= items for items in loved)


def test_short_histories_are_not_padded_to_long_ones(interactions: Interactions) -> None:
    place = np.arange(len(interactions.items)) - np.repeat(interactions.offsets[:-1], np.diff(interactions.offsets))
    uneven = interactions.where(place < 3 + 10 * (interactions.users % 2))
    parts = _sampler(uneven, replace(RECIPE, future_share=1.0)).draw(64).parts
    widths = [part.histories.items.shape[1] for part in parts]
    assert (widths[0], widths[-1]) == (2, 12)
    assert sum(len(part.targets) for part in parts) == 64


def test_a_frequent_item_is_more_likely_in_the_pool(interactions: Interactions) -> None:
    few = replace(RECIPE, uniform_negatives=5, moments=2)
    sampler = _sampler(interactions, few)
    expected: dict[int, list[float]] = {}
    found = np.zeros(40)
    for _ in range(200):
        batch = sampler.draw(4)
        found[batch.pool] += 1 / 200
        for item, log_q in zip(batch.pool.tolist(), batch.log_q.tolist(), strict=True):
            expected.setdefault(item, []).append(np.exp(log_q))
    mean = np.array([np.mean(expected[item]) for item in range(40)])
    assert np.abs(mean - found).max() < 0.15
    assert np.corrcoef(mean, found)[0, 1] > 0.3


def test_the_same_seed_draws_the_same(interactions: Interactions) -> None:
    one, other = _sampler(interactions, RECIPE), _sampler(interactions, RECIPE)
    assert torch.equal(one.draw(16).pool, other.draw(16).pool)


def test_without_anybody_to_learn_from_nothing_is_drawn(interactions: Interactions) -> None:
    alone = interactions.where(np.isin(np.arange(len(interactions.items)), interactions.offsets[:-1]))
    with pytest.raises(InvalidInput, match="none of 60 users"):
        _sampler(alone, RECIPE)


def test_who_liked_one_item_among_others_is_learnt_from(interactions: Interactions) -> None:
    place = np.arange(len(interactions.items)) - np.repeat(interactions.offsets[:-1], np.diff(interactions.offsets))
    once = replace(interactions, preferences=np.where(place == 3, 1.0, 0.2).astype(np.float32))
    for part in _sampler(once, replace(RECIPE, future_share=1.0)).draw(64).parts:
        assert part.is_target.all()
        assert part.targets.shape[1:] == (1, 1)
        assert np.isin(part.targets.numpy(), interactions.items[place == 3]).all()
        assert torch.isfinite(part.histories.preference).all()
