from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from tastemaker.candidates import ITEM_TO_ITEM, POPULAR, TWO_TOWER
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.popular import PopularTable
from tastemaker_training import recipes
from tastemaker_training.dataset import category_matrix
from tastemaker_training.interactions import Interactions, Split, from_lake, split_by_time
from tastemaker_training.ranker.examples import Proposer, candidates, examples
from tastemaker_training.ranker.stage import Sources
from tastemaker_training.sources import als, content, neighbours
from tastemaker_training.towers.inputs import item_inputs
from tastemaker_training.towers.two_tower import ServedUserTower, TwoTower

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
def proposer(inner: Split, catalogue: pa.Table) -> Proposer:
    inputs = item_inputs(catalogue, category_matrix(catalogue, CATEGORIES), inner.past, RECIPE.liked, RECIPE.two_tower)
    torch.manual_seed(0)
    model = TwoTower(inputs, PROFILE, RECIPE.two_tower).eval()
    with torch.no_grad():
        vectors = model.items(torch.arange(40)).numpy()
    popular = PopularTable.of({"overall": list(range(40)), "segment": {}}, CATEGORIES, 40)
    sources = Sources(
        neighbours.build(inner.past, RECIPE.neighbours),
        als.fit(inner.past, RECIPE.als, RECIPE.liked, RECIPE.seed),
        content.fit(catalogue, RECIPE.content, RECIPE.seed),
    )
    shares = {TWO_TOWER: 0.5, ITEM_TO_ITEM: 0.35, POPULAR: 0.15}
    tower = ServedUserTower(model).eval()
    return Proposer(tower, sources.retrieval(vectors, popular), len(CATEGORIES), shares, limit=20)


def profiles_of(past: Interactions) -> np.ndarray:
    return np.zeros((len(past.items), PROFILE), dtype=np.float32)


def test_nothing_seen_is_proposed_and_nothing_twice(proposer: Proposer) -> None:
    random = np.random.default_rng(0)
    seen = random.integers(-1, 40, (5, 12)).astype(np.int32)
    vectors = random.standard_normal((5, RECIPE.two_tower.dim)).astype(np.float32)
    profiles = np.zeros((5, PROFILE), dtype=np.float32)
    ones = np.ones(seen.shape, dtype=np.float32)
    found = candidates(proposer, vectors, profiles, seen, ones, ones, seen)
    assert found.codes.shape == (5, 20)
    for row in range(5):
        codes = found.codes[row]
        assert not np.isin(codes, seen[row]).any()
        assert len(np.unique(codes)) == 20
    np.testing.assert_allclose(
        found.signals[0],
        np.take_along_axis(vectors @ proposer.model.two_tower.vectors.numpy().T, found.codes, axis=1),
        rtol=1e-5,
    )


def test_lists_are_made_at_the_start_and_in_the_middle(past: Interactions, inner: Split, proposer: Proposer) -> None:
    one = examples(past, inner, profiles_of(past), proposer, RECIPE)
    both = replace(RECIPE, ranker=replace(RECIPE.ranker, histories=2))
    two = examples(past, inner, profiles_of(past), proposer, both)
    assert 0 < len(one) < len(two) <= 120
    assert two.heads == ("like",)  # all ratings are likes or dislikes: a click is no other thing


def test_likes_are_of_the_future_and_histories_of_the_past(
    past: Interactions, inner: Split, proposer: Proposer
) -> None:
    # The profile of a user's first held-out event carries the user's code, so that lists can be told apart.
    profiles = profiles_of(past)
    profiles[:, 1] = past.users
    lists = examples(past, inner, profiles, proposer, RECIPE)
    for codes, liked, profile in zip(lists.codes, lists.labels[..., 0], lists.profiles, strict=True):
        user = int(profile[1])
        future, before = inner.future.of(user), inner.past.items[inner.past.of(user)]
        loved = inner.future.items[future][inner.future.preferences[future] >= RECIPE.liked]
        assert not np.isin(codes, before).any()
        np.testing.assert_array_equal(liked, np.isin(codes, loved))


def test_without_a_like_there_is_nothing_to_learn(past: Interactions, inner: Split, proposer: Proposer) -> None:
    with pytest.raises(InvalidInput, match="nothing to learn"):
        examples(past, inner, profiles_of(past), proposer, replace(RECIPE, liked=2.0))


def test_short_histories_are_learnt_from_where_there_are_no_others(past: Interactions, proposer: Proposer) -> None:
    place = np.arange(len(past.items)) - np.repeat(past.offsets[:-1], np.diff(past.offsets))
    short = past.where(place < 5)
    lists = examples(short, split_by_time(short, 0.4), profiles_of(short), proposer, RECIPE)
    assert len(lists) == 60
    assert lists.labels.any()


def test_each_head_has_its_own_events_and_a_dislike_is_none(
    past: Interactions, inner: Split, proposer: Proposer
) -> None:
    random = np.random.default_rng(0)
    preferences = random.choice(np.array([-1.0, 0.4, 1.0], dtype=np.float32), len(past.items))
    told = replace(past, preferences=preferences, completed=random.random(len(past.items)) < 0.3)
    profiles = profiles_of(past)
    profiles[:, 1] = past.users
    one = replace(RECIPE, ranker=replace(RECIPE.ranker, histories=1))
    lists = examples(told, inner, profiles, proposer, one)
    assert lists.heads == ("like", "completion", "click")
    for row, user in enumerate(lists.profiles[:, 1].int().tolist()):
        events = np.arange(past.offsets[user], past.offsets[user + 1])[len(inner.past.items[inner.past.of(user)]) :]
        preference, completed = preferences[events], told.completed[events] & (preferences[events] > 0)  # type: ignore[index]
        found = (*lists.labels[row].T, lists.disliked[row])
        for marks, kind in zip(found, (preference >= 0.6, completed, preference > 0, preference < 0), strict=True):
            np.testing.assert_array_equal(marks, np.isin(lists.codes[row], past.items[events][kind]))


def test_events_of_types_that_complete_are_completed(two_tastes: pa.Table, catalogue: pa.Table) -> None:
    place = two_tastes.column_names.index("event_type")
    types = pa.array(["complete", "click"] * (len(two_tastes) // 2))
    events = two_tastes.set_column(place, "event_type", types)
    found = from_lake(events, catalogue, Settings())
    assert found.completed is not None
    assert found.completed.tolist() == (found.preferences == 1.0).tolist()
    assert from_lake(two_tastes, catalogue, Settings()).completed.sum() == 0  # type: ignore[union-attr]
