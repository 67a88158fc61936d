from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.training.histories import interactions_of

from tastemaker_training.recipes import TransitionRecipe
from tastemaker_training.sources import transition
from tastemaker_training.sources.histories import votes

ONE_WAY = replace(TransitionRecipe(), backward=0.0, source_exponent=0.0, target_exponent=0.0)


def test_a_pair_counts_by_its_distance_in_order() -> None:
    data = interactions_of([0, 1, 2], [0, 1], items=3)
    table = transition.fit(data, replace(ONE_WAY, gap_decay=0.5)).table.toarray()
    strength = table[1, 2]
    np.testing.assert_allclose(table / strength, np.array([[0, 2, 0.5], [0, 0, 1], [0, 0, 0]]), rtol=1e-6)


def test_a_share_counts_backward() -> None:
    table = transition.fit(interactions_of([0, 1], items=2), replace(ONE_WAY, backward=0.5)).table.toarray()
    assert table[1, 0] == 0.5 * table[0, 1] > 0


def test_pairs_of_different_users_are_none() -> None:
    table = transition.fit(interactions_of([0], [1], items=2), ONE_WAY).table
    assert table.nnz == 0


def test_the_newest_event_speaks_loudest() -> None:
    data = interactions_of([0, 2], [1, 3], [0, 1], items=4)
    scores = transition.fit(data, ONE_WAY).scores(data, np.array([2]))
    assert scores.shape == (1, 4)
    assert scores[0, 3] > scores[0, 2] > 0


def test_votes_of_a_user_are_of_the_newest_events_alone() -> None:
    data = interactions_of([0, 1, 2], [], [3], items=4)
    found = votes(data, np.array([0, 1, 2]), np.array([1.0, 0.5])).toarray()
    full = found[2, 3]
    np.testing.assert_allclose(found / full, np.array([[0, 0.5, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]))
