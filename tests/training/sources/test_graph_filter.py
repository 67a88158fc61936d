from __future__ import annotations

import dataclasses

import numpy as np
from tests.training.histories import interactions_of

from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.recipes import GraphFilterRecipe
from tastemaker_training.sources import graph_filter
from tastemaker_training.sources.graph_filter import GraphFilter
from tastemaker_training.sources.neighbours import liking_matrix

RECIPE = GraphFilterRecipe(directions=2)


def around_a_ring(users: int = 40) -> Interactions:
    """Users and 24 items lie around a ring; everybody likes 5 of the 9 items nearest to them."""
    random = np.random.default_rng(0)
    places = np.arange(users) * 24 // users
    return interactions_of(*(((place + random.permutation(9)[:5] - 4) % 24).tolist() for place in places), items=24)


def scores(model: GraphFilter, known: Interactions) -> Floats:
    return model.scores(known, np.arange(len(known.user_ids)))


def test_scores_are_the_closed_form() -> None:
    data = around_a_ring()
    likings = liking_matrix(data).toarray().astype(np.float64)
    of_items = np.maximum(likings.sum(axis=0), 1e-9)
    normalised = likings / np.sqrt(likings.sum(axis=1, keepdims=True) * of_items)
    step = normalised.T @ normalised
    smoothest = np.linalg.svd(normalised)[2][:2].T
    local = likings @ step
    smooth = (likings / np.sqrt(of_items)) @ smoothest @ smoothest.T * np.sqrt(of_items)
    expected = local + RECIPE.smooth * smooth - RECIPE.sharpening * (local + smooth) @ step
    expected *= of_items**RECIPE.popularity
    np.testing.assert_allclose(scores(graph_filter.fit(data, RECIPE, 0), data), expected, atol=1e-4)


def test_a_history_finds_what_is_near_though_its_user_was_never_seen() -> None:
    data = around_a_ring()
    found = scores(graph_filter.fit(data.where(data.users != 20), RECIPE, 0), data)[20]
    found[data.items[data.of(20)]] = np.nan
    near = np.arange(12 - 4, 12 + 5)
    assert np.nanmean(found[near]) > np.nanmean(np.delete(found, near)) + np.nanstd(found) / 2


def test_events_newer_than_the_fit_count() -> None:
    data = around_a_ring()
    older = data.where(np.arange(len(data.items)) != data.offsets[1] - 1)
    model = graph_filter.fit(older, RECIPE, 0)
    assert not np.allclose(scores(model, data)[0], scores(model, older)[0])
    np.testing.assert_allclose(scores(model, data)[1:], scores(model, older)[1:])


def test_dislikes_and_empty_histories_say_nothing() -> None:
    data = around_a_ring()
    model = graph_filter.fit(data, RECIPE, 0)
    disliked = dataclasses.replace(data, preferences=np.full_like(data.preferences, -1.0))
    assert not scores(model, disliked).any()
    assert not scores(model, data.where(np.zeros(len(data.items), dtype=bool))).any()


def test_an_item_seen_often_counts_at_most_fully() -> None:
    model = graph_filter.fit(around_a_ring(), RECIPE, 0)
    twice, often = (interactions_of([3] * times, items=24) for times in (2, 9))
    np.testing.assert_allclose(scores(model, twice), scores(model, often))


def test_items_without_likes_have_no_score() -> None:
    data = around_a_ring()
    wider = dataclasses.replace(data, item_ids=[*data.item_ids, "new"])
    found = scores(graph_filter.fit(wider, RECIPE, 0), wider)
    np.testing.assert_allclose(found[:, -1], 0, atol=1e-5)
    np.testing.assert_allclose(found[:, :-1], scores(graph_filter.fit(data, RECIPE, 0), data), atol=1e-4)


def test_few_users_leave_few_directions() -> None:
    assert graph_filter.fit(around_a_ring(), GraphFilterRecipe(), 0).directions.shape == (24, 2)
    assert graph_filter.fit(around_a_ring(users=2), GraphFilterRecipe(), 0).directions.shape == (24, 1)
