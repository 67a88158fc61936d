import numpy as np
import pytest

from tastemaker.clickstream.decay import SPAN, DecayedCounts
from tastemaker.clickstream.pair_counts import PairCounts

START = 1_700_000_000.0


def test_a_count_halves_with_each_half_life() -> None:
    counts = DecayedCounts(3, (10.0, 20.0))
    counts.add(np.array([1, 1, 2]), START + np.array([0.0, 0.0, 20.0]))
    assert counts.at(START + 20.0) == pytest.approx(np.array([[0, 0.5, 1], [0, 1, 1]]))


def test_counts_stay_the_same_when_time_has_gone_far() -> None:
    counts = DecayedCounts(2, (1.0, 1e6))
    counts.add(np.array([0]), np.array([START]))
    later = START + 2000 * SPAN
    counts.add(np.array([1]), np.array([later]))
    assert counts.at(later)[1] == pytest.approx([np.exp2(-2000 * SPAN / 1e6), 1])


def test_a_pair_counts_from_first_to_second_only() -> None:
    pairs = PairCounts((10.0,))
    pairs.add(np.array([4, 4, 4]), np.array([5, 6, 5]), np.full(3, START))
    items, counts = pairs.of(4, START + 10.0)
    assert dict(zip(items.tolist(), counts[:, 0].tolist(), strict=True)) == pytest.approx({5: 1.0, 6: 0.5})
    assert len(pairs.of(5, START)[0]) == 0


def test_a_row_holds_any_number_of_pairs() -> None:
    pairs = PairCounts((10.0,))
    pairs.add(np.zeros(50, dtype=np.int64), np.arange(50), np.full(50, START))
    assert pairs.of(0, START)[0].tolist() == list(range(50))


def test_pairs_that_have_faded_are_forgotten() -> None:
    pairs = PairCounts((1.0, 2.0))
    pairs.add(np.array([1, 2]), np.array([3, 4]), np.full(2, START))
    pairs.add(np.array([2]), np.array([5]), np.array([START + SPAN]))
    assert list(pairs.rows) == [2]
    assert pairs.of(2, START + SPAN)[0].tolist() == [5]
