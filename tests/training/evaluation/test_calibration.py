from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker_training.evaluation.calibration import expected_calibration_error


def test_by_hand() -> None:
    # Two predictions of .1, none true; three of .8, two true.
    error = expected_calibration_error([0.1, 0.1, 0.8, 0.8, 0.8], [0, 0, 1, 1, 0], bins=10)
    assert error == pytest.approx(2 / 5 * 0.1 + 3 / 5 * (0.8 - 2 / 3))


def test_small_probabilities_are_told_apart() -> None:
    probabilities = np.repeat([0.001, 0.01], 5_000)
    swapped = np.concatenate([np.arange(5_000) < 50, np.arange(5_000) < 5])
    assert expected_calibration_error(probabilities, swapped) == pytest.approx(0.009), "right on average only"
    assert expected_calibration_error(probabilities, swapped[::-1]) == pytest.approx(0.0)


def test_certainty_that_is_right_has_none_and_that_is_wrong_all() -> None:
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0.0
    assert expected_calibration_error([0.0, 1.0], [True, False]) == 1.0


def test_probabilities_that_labels_are_drawn_by_have_little() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(100_000)
    labels = random.random(100_000) < probabilities
    assert expected_calibration_error(probabilities, labels) < 0.01
    assert expected_calibration_error(probabilities**2, labels) > 0.1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_it_is_at_least_the_bias_and_at_most_one(pairs: list[tuple[float, bool]]) -> None:
    probabilities, labels = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    error = expected_calibration_error(probabilities, labels)
    assert abs(probabilities.mean() - labels.mean()) - 1e-9 <= error <= 1 + 1e-9


@pytest.mark.parametrize(("probabilities", "labels"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([float("nan")], [1])])
def test_what_is_no_probability_is_refused(probabilities: list[float], labels: list[int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        expected_calibration_error(probabilities, labels)
