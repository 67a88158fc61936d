from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker_training import recipes
from tastemaker_training.interactions import Interactions, Split, from_lake, split_by_time
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.sources.source import Source
from tastemaker_training.towers import stage as towers
from tastemaker_training.towers.inputs import item_inputs

RECIPE = recipes.smoke()


@pytest.fixture(scope="module")
def interactions(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    return from_lake(two_tastes, catalogue, Settings())


def _holdout(interactions: Interactions, seed: int) -> Split:
    return split_by_time(interactions, 0.1)


def test_a_fitted_source_scores_from_the_history(interactions: Interactions, catalogue: pa.Table) -> None:
    recipe = replace(RECIPE, two_tower=replace(RECIPE.two_tower, steps=120, passes=200.0, learning_rate=1e-2))
    source: Source = towers.fit(interactions, catalogue, _holdout, recipe)
    users = np.arange(60)
    scores = source.scores(interactions, users)
    assert scores.shape == (60, 40)
    unseen = np.ones(scores.shape, dtype=bool)
    unseen[interactions.users, interactions.items] = False
    loved = np.arange(40) % 2 == users[:, None] % 2
    best = np.where(unseen, scores, -np.inf).argmax(axis=1)
    assert loved[users, best].mean() > 0.9
    newest = interactions.where(np.arange(len(interactions.items)) != interactions.offsets[1] - 1)
    assert not np.allclose(source.scores(newest, users)[0], scores[0])


def test_items_begin_where_the_graph_puts_them_and_go_back_there(
    interactions: Interactions, catalogue: pa.Table
) -> None:
    """A narrow model, for which the graph has directions; corrections that decay at once leave no trace of a fit."""
    narrow = replace(RECIPE.two_tower, dim=8, steps=5, weight_decay=1 / RECIPE.two_tower.learning_rate)
    model = towers.fit(interactions, catalogue, _holdout, replace(RECIPE, two_tower=narrow)).model
    assert model.items.start is not None
    start, moved = (table.weight.detach().square().mean().sqrt() for table in (model.items.start, model.items.id))
    assert moved < 0.05 < start


def test_what_many_like_is_liked_more_and_tells_less(interactions: Interactions, catalogue: pa.Table) -> None:
    rare = np.isin(interactions.items, np.arange(0, 40, 4)) & (interactions.users > 3)
    uneven = interactions.where(~rare)
    inputs = item_inputs(
        catalogue, np.zeros((40, 0), dtype=np.float32), uneven, 0.6, replace(RECIPE.two_tower, dim=8, start_tilt=0.3)
    )
    assert inputs.start is not None
    liked, told = (vectors.norm(dim=1) for vectors in inputs.start)
    ratio, likes = (liked / told).numpy(), np.bincount(uneven.items, minlength=40)
    assert ratio[likes < 5].max() < ratio[likes > 10].min()


def test_without_an_order_there_is_no_next_event(interactions: Interactions) -> None:
    sets = replace(interactions, timestamps=np.zeros_like(interactions.timestamps))
    recipe = towers.suited(RECIPE.two_tower, sets, _holdout(sets, 0))
    assert (recipe.blocks, recipe.future_share, recipe.moments) == (0, 0.0, 1)
    ordered = towers.suited(RECIPE.two_tower, interactions, _holdout(interactions, 0))
    assert recipe.dim > ordered.dim
    assert recipe.learning_rate < ordered.learning_rate


def test_it_looks_as_far_ahead_as_the_holdout_reaches(interactions: Interactions) -> None:
    def suited(share: float, most: int = 50) -> TwoTowerRecipe:
        given = replace(RECIPE.two_tower, window=most)
        return towers.suited(given, interactions, split_by_time(interactions, share))

    next_event, later = suited(0.01), suited(0.2)
    assert (next_event.window, next_event.future_share, next_event.sequence_start) == (1, 1.0, 1.0)
    assert next_event.weight_decay < later.weight_decay
    assert (later.window, later.future_share) == (3, RECIPE.two_tower.future_share)
    assert suited(0.2, most=2).window == 2


def test_one_like_of_each_user_is_enough_and_none_is_refused(interactions: Interactions, catalogue: pa.Table) -> None:
    place = np.arange(len(interactions.items)) - np.repeat(interactions.offsets[:-1], np.diff(interactions.offsets))
    few = np.where((place == 3) | (place == 13), 1.0, 0.2).astype(np.float32)
    fitted = towers.fit(replace(interactions, preferences=few), catalogue, _holdout, RECIPE)
    assert np.isfinite(fitted.vectors).all()
    for likes, missing in ((place < 0, "two events to learn from"), (place == 3, "held out to validate on")):
        poor = replace(interactions, preferences=np.where(likes, 1.0, 0.2).astype(np.float32))
        with pytest.raises(InvalidInput, match=missing):
            towers.fit(poor, catalogue, _holdout, RECIPE)
