from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from tastemaker.candidates import popular_table
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker_training import neighbours, recipes
from tastemaker_training.dataset import category_matrix, item_inputs
from tastemaker_training.interactions import Interactions, Split, from_lake, split_by_time
from tastemaker_training.ranker_examples import Retrieval, candidates, examples
from tastemaker_training.two_tower import ServedUserTower, TwoTower

CATEGORIES = ["Comedy", "Drama"]
PROFILE = 6
RECIPE = recipes.smoke()


@pytest.fixture(scope="module")
def past(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    return from_lake(two_tastes, catalogue, Settings())


@pytest.fixture(scope="module")
def inner(past: Interactions) -> Split:
    return split_by_time(past, 0.4)


@pytest.fixture(scope="module")
def retrieval(inner: Split, catalogue: pa.Table) -> Retrieval:
    inputs = item_inputs(catalogue, category_matrix(catalogue, CATEGORIES), inner.past, RECIPE.liked, RECIPE.two_tower)
    torch.manual_seed(0)
    model = TwoTower(inputs, PROFILE, RECIPE.two_tower).eval()
    with torch.no_grad():
        vectors = model.items(torch.arange(40)).numpy()
    popular = popular_table({"overall": list(range(40)), "segment": {}}, CATEGORIES, 40)
    table = neighbours.build(inner.past, RECIPE.neighbours)
    return Retrieval(ServedUserTower(model).eval(), vectors, table, popular, limit=20)


def profiles_of(past: Interactions) -> np.ndarray:
    return np.zeros((len(past.items), PROFILE), dtype=np.float32)


def test_nothing_seen_is_proposed_and_nothing_twice(retrieval: Retrieval) -> None:
    random = np.random.default_rng(0)
    seen = random.integers(-1, 40, (5, 12)).astype(np.int32)
    vectors = random.standard_normal((5, RECIPE.two_tower.dim)).astype(np.float32)
    profiles = np.zeros((5, PROFILE), dtype=np.float32)
    found = candidates(retrieval, vectors, profiles, seen, np.ones(seen.shape, dtype=np.float32), seen)
    assert found.codes.shape == (5, 20)
    for row in range(5):
        codes = found.codes[row]
        assert not np.isin(codes, seen[row]).any()
        assert len(np.unique(codes)) == 20
    np.testing.assert_allclose(
        found.two_tower, np.take_along_axis(vectors @ retrieval.vectors.T, found.codes, axis=1), rtol=1e-5
    )


def test_lists_are_made_at_the_start_and_in_the_middle(past: Interactions, inner: Split, retrieval: Retrieval) -> None:
    one = examples(past, inner, profiles_of(past), retrieval, RECIPE)
    both = replace(RECIPE, ranker=replace(RECIPE.ranker, histories=2))
    two = examples(past, inner, profiles_of(past), retrieval, both)
    assert 0 < len(one) < len(two) <= 120
    assert bool(two.liked.any(1).all())


def test_likes_are_of_the_future_and_histories_of_the_past(
    past: Interactions, inner: Split, retrieval: Retrieval
) -> None:
    # The profile of a user's first held-out event carries the user's code, so that lists can be told apart.
    profiles = profiles_of(past)
    profiles[:, 1] = past.users
    lists = examples(past, inner, profiles, retrieval, RECIPE)
    for codes, liked, profile in zip(lists.codes, lists.liked, lists.profiles, strict=True):
        user = int(profile[1])
        future, before = inner.future.of(user), inner.past.items[inner.past.of(user)]
        loved = inner.future.items[future][inner.future.preferences[future] >= RECIPE.liked]
        assert not np.isin(codes, before).any()
        np.testing.assert_array_equal(liked, np.isin(codes, loved))


def test_without_a_like_there_is_nothing_to_learn(past: Interactions, inner: Split, retrieval: Retrieval) -> None:
    with pytest.raises(InvalidInput, match="nothing to learn"):
        examples(past, inner, profiles_of(past), retrieval, replace(RECIPE, liked=2.0))
