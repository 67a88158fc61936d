from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.training.histories import interactions_of

from tastemaker_training.interactions import Interactions
from tastemaker_training.recipes import ALSRecipe
from tastemaker_training.sources import als
from tastemaker_training.sources.als import ALS

RECIPE = ALSRecipe(factors=4, regularization=0.5, alpha=5.0, iterations=10)


def two_tastes() -> Interactions:
    """Even users like items of the first half of 20, odd users of the second."""
    random = np.random.default_rng(0)
    return interactions_of(*((random.permutation(10)[:5] + 10 * (user % 2)).tolist() for user in range(30)), items=20)


@pytest.fixture(scope="module")
def fitted() -> tuple[ALS, Interactions]:
    data = two_tastes()
    return als.fit(data.where(data.users > 1), RECIPE, 0.6, 0), data


def test_users_never_seen_find_their_taste(fitted: tuple[ALS, Interactions]) -> None:
    model, data = fitted
    scores = model.scores(data, np.array([0, 1]))
    assert scores.shape == (2, 20)
    assert scores[0, :10].min() > scores[0, 10:].max()
    assert scores[1, 10:].min() > scores[1, :10].max()


def test_factors_of_a_user_are_the_least_squares_of_their_history(fitted: tuple[ALS, Interactions]) -> None:
    model, data = fitted
    factors = model.items.vectors.astype(np.float64)
    likes = np.zeros(20)
    likes[data.items[data.of(0)]] = 1
    confidence = np.where(likes > 0, RECIPE.alpha, 1.0)
    ridge = RECIPE.regularization * np.eye(RECIPE.factors)
    expected = np.linalg.solve(factors.T @ (confidence[:, None] * factors) + ridge, factors.T @ (confidence * likes))
    np.testing.assert_allclose(model.scores(data, np.array([0]))[0], factors @ expected, rtol=1e-3)


def test_dislikes_repetitions_and_empty_histories_say_nothing_more(fitted: tuple[ALS, Interactions]) -> None:
    model, _ = fitted
    once, often = interactions_of([1, 2], [], items=20), interactions_of([1, 2, 2, 1], [], items=20)
    np.testing.assert_allclose(model.scores(once, np.array([0, 1])), model.scores(often, np.array([0, 1])))
    assert not model.scores(once, np.array([1])).any()
    disliked = dataclasses.replace(once, preferences=np.full(2, 0.5, dtype=np.float32))
    assert not model.scores(disliked, np.array([0])).any()


def test_slates_hold_what_is_unseen_and_best_first(monkeypatch: pytest.MonkeyPatch) -> None:
    data = two_tastes()
    slates = als.recommend(data, RECIPE, 4, 0.6, 0)
    scores = als.fit(data, RECIPE, 0.6, 0).scores(data, np.arange(30))
    assert slates.shape == (30, 4)
    for user, slate in enumerate(slates):
        assert not np.isin(slate, data.items[data.of(user)]).any()
        assert (np.diff(scores[user, slate]) <= 0).all()
    assert (slates // 10 == np.arange(30)[:, None] % 2).mean() > 0.8
    monkeypatch.setattr("tastemaker_training.evaluation.slates.MOST_USERS", 7)
    np.testing.assert_array_equal(als.recommend(data, RECIPE, 4, 0.6, 0), slates)


def test_a_short_catalogue_gives_short_slates() -> None:
    slates = als.recommend(interactions_of([0, 1], [1, 2], [0, 2], items=3), RECIPE, 5, 0.6, 0)
    np.testing.assert_array_equal(slates >= 0, [[True, False, False, False, False]] * 3)
    assert slates[:, 0].tolist() == [2, 0, 1]
