from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest
from scipy import stats

from tastemaker_training.evaluation.intervals import MANY, by_standard_error, interval


def test_the_interval_holds_the_mean_and_is_repeatable() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = interval(values, seed=1)
    assert low < values.mean() < high
    assert interval(values, seed=1) == [low, high]
    assert interval(np.zeros(5), seed=1) == [0.0, 0.0]


def test_few_users_are_resampled_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap's acceleration takes the square of the users: at 40,000 that is 7 seconds an interval."""
    resampling = Mock(wraps=stats.bootstrap)
    monkeypatch.setattr(stats, "bootstrap", resampling)
    values = np.random.default_rng(0).random(10 * MANY)
    interval(values[: MANY // 10], seed=0)
    interval(values, seed=0)
    assert [len(call.args[0][0]) for call in resampling.call_args_list] == [MANY // 10]


def test_where_one_way_ends_and_the_other_begins_they_agree() -> None:
    values = np.random.default_rng(0).exponential(size=MANY)
    fewer, all_ = interval(values[:-1], seed=0), interval(values, seed=0)
    assert fewer == pytest.approx(all_, rel=0.005)


def test_by_standard_error_it_holds_the_mean_and_shrinks_with_users() -> None:
    values = np.tile([0.0, 1.0], 50)
    low, high = by_standard_error(values)
    assert low < 0.5 < high
    wide, narrow = high - low, np.ptp(by_standard_error(np.tile(values, 4)))
    assert narrow == pytest.approx(wide / 2, rel=0.02)
    assert by_standard_error(np.ones(5)) == [1.0, 1.0]
