from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from tests.training.histories import interactions_of

from tastemaker_training.interactions import Interactions
from tastemaker_training.recipes import NeighboursRecipe
from tastemaker_training.sources import neighbours
from tastemaker_training.sources.neighbours import build, ease, follow_ups, liking_matrix


def random_interactions(users: int, items: int) -> Interactions:
    random = np.random.default_rng(0)
    return interactions_of(*(random.permutation(items)[: items // 3].tolist() for _ in range(users)), items=items)


@pytest.mark.parametrize(("users", "items"), [(9, 30), (40, 12)])
def test_ease_is_its_closed_form_through_either_side(users: int, items: int) -> None:
    matrix = (np.random.default_rng(0).random((users, items)) < 0.3).astype(np.float32)
    inverse = np.linalg.inv(matrix.T.astype(np.float64) @ matrix + 5 * np.eye(items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    weights = ease(sp.csr_array(matrix), 5.0)
    np.testing.assert_allclose(weights(slice(0, items)), expected, atol=1e-5)
    np.testing.assert_allclose(weights(slice(2, items, 3)), expected[2::3], atol=1e-5)


def test_follow_ups_look_forward_and_fade_with_distance() -> None:
    counts = follow_ups(interactions_of([0, 1, 2], items=4), window=2).toarray()
    normaliser = 1 + neighbours.SHRINKAGE  # every item was liked once
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 2] = 1 / np.sqrt(2) / normaliser
    expected[0, 2] = 1 / np.sqrt(3) / normaliser
    np.testing.assert_allclose(counts, expected, rtol=1e-5)


def test_follow_ups_stay_within_user_and_window() -> None:
    counts = follow_ups(interactions_of([0, 1, 2], [3, 0], items=4), window=1).toarray()
    assert sorted(zip(*np.nonzero(counts), strict=True)) == [(0, 1), (1, 2), (3, 0)]


def test_repeated_and_disliked_events_are_no_pairs() -> None:
    assert follow_ups(interactions_of([0, 0], items=2), window=5).nnz == 0
    assert follow_ups(interactions_of([0, 1], items=2, preference=-0.5), window=5).nnz == 0


def test_an_item_seen_often_is_liked_at_most_fully() -> None:
    matrix = liking_matrix(interactions_of([1, 1, 1], items=2))
    np.testing.assert_allclose(matrix.toarray(), [[0, 1.2]], rtol=1e-6)


def test_neighbours_are_sorted_and_never_the_item_itself() -> None:
    table = build(random_interactions(20, 30), NeighboursRecipe(neighbours=8))
    assert table.codes.shape == table.weights.shape == (30, 8)
    assert not (table.codes == np.arange(30)[:, None]).any()
    assert (np.diff(table.weights, axis=1) <= 0).all()
    assert (table.weights >= 0).all()
    np.testing.assert_array_equal(table.codes < 0, table.weights == 0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data, recipe = random_interactions(20, 30), NeighboursRecipe(neighbours=8)
    whole = build(data, recipe)
    monkeypatch.setattr(neighbours, "CHUNK_ENTRIES", 7 * 30)
    parts = build(data, recipe)
    np.testing.assert_array_equal(parts.codes, whole.codes)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-4)


def test_a_catalogue_too_large_for_ease_has_the_sequence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "EASE_ITEMS", 10)
    data = random_interactions(20, 30)
    table = build(data, NeighboursRecipe(neighbours=40))
    dense: Any = follow_ups(data, 30).toarray()
    for item in range(30):
        found = table.codes[item][table.codes[item] >= 0]
        assert set(found) == set(np.flatnonzero(dense[item]))
        np.testing.assert_allclose(table.weights[item][: len(found)], np.sort(dense[item][found])[::-1])


def test_items_without_events_have_no_neighbours() -> None:
    table = build(interactions_of([0, 1], [1, 0], items=4), NeighboursRecipe(neighbours=3))
    assert (table.codes[2:] == -1).all()
    assert table.codes[0].tolist() == [1, -1, -1]
