from __future__ import annotations

import numpy as np
import pytest

from tastemaker.scenes import Freshness, Repetition
from tastemaker_serving.stages.relevance import freshness, repetition, scaled

DAY = 86_400.0


def test_scores_of_any_scale_end_up_between_nothing_and_one() -> None:
    scores = np.array([[9.0, 5.0, 1.0], [-2.0, -2.0, -np.inf], [-np.inf] * 3], dtype=np.float32)
    assert scaled(scores).tolist() == [[1.0, 0.5, 0.0], [0.0, 0.0, -np.inf], [-np.inf] * 3]


def test_youth_halves_with_each_half_life_and_is_nothing_where_unknown() -> None:
    now = 100 * DAY
    published = np.array([now, now - 2 * DAY, now - 4 * DAY, now + DAY, np.nan])

    added = freshness(published, now, Freshness(boost=0.8, half_life_h=48))

    assert added == pytest.approx([0.8, 0.4, 0.2, 0.8, 0.0])


def test_what_was_shown_in_several_slates_loses_for_each_the_less_the_longer_ago() -> None:
    codes = np.array([[1, 2, 3, -1], [1, 2, 3, -1]], dtype=np.int32)
    shown = np.array([[1, -1, 2, 1], [-1, -1, -1, 3]], dtype=np.int32)
    slate = np.array([0, 0, 1, 2], dtype=np.int32)

    added = repetition(codes, shown, slate, Repetition(discount=0.4, slates=3))

    assert added == pytest.approx(np.array([[-0.5, -0.2, 0, 0], [0, 0, -0.1, 0]]))


def test_slates_beyond_those_remembered_cost_nothing() -> None:
    shown = np.array([[1, 2]], dtype=np.int32)
    added = repetition(shown, shown, np.array([0, 1], dtype=np.int32), Repetition(discount=1, slates=1))
    assert added.tolist() == [[-1, 0]]
