"""Peeking at every look must not find what is not there; a planted loss must be found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.rollout.lift import MISMATCH, Lift, half_width, lift, mismatch, tau_for
from tastemaker.rollout.meter import BUCKETS, MOST_USERS, Measured

ALPHA = 0.05
LOOKS = 60


def looks(rng: np.random.Generator, users: int, rate: float, loss: float, weight: float) -> list[tuple[Measured, ...]]:
    """What one rollout shows at each look. Users have a taste of their own and come several times."""
    tastes = rng.beta(rate * 5, (1 - rate) * 5, users)
    new = rng.random(users) < weight
    buckets = rng.integers(0, BUCKETS, users)
    sums = np.zeros((2, 2, BUCKETS))
    found = []
    for _ in range(LOOKS):
        came = rng.choice(users, users // 10)
        chances = tastes[came] * np.where(new[came], 1 - loss, 1)
        clicked = rng.random(len(came)) < chances
        for colour, mine in ((0, new[came]), (1, ~new[came])):
            sums[colour, 0] += np.bincount(buckets[came[mine]], minlength=BUCKETS)
            sums[colour, 1] += np.bincount(buckets[came[mine & clicked]], minlength=BUCKETS)
        copies = sums.copy()
        found.append(tuple(Measured(impressions=copies[colour, 0], clicks=copies[colour, 1]) for colour in (0, 1)))
    return found


@pytest.mark.parametrize(("rate", "weight", "users"), [(0.02, 0.5, 5_000), (0.2, 0.05, 4_000), (0.2, 0.5, 1_000)])
def test_peeking_at_every_look_keeps_the_error_below_alpha(rate: float, weight: float, users: int) -> None:
    rng = np.random.default_rng(7)
    rollouts, wrong = 200, 0
    for _ in range(rollouts):
        intervals = [lift(new, old, ALPHA, tau_for(0.05)) for new, old in looks(rng, users, rate, 0.0, weight)]
        wrong += any(found is not None and not found.low <= 0 <= found.high for found in intervals)
    # 200 rollouts at exactly alpha would give more than 19 with probability 0.002.
    assert wrong <= ALPHA * rollouts


def test_a_planted_loss_is_found_and_the_interval_covers_it() -> None:
    rng = np.random.default_rng(11)
    for _ in range(10):
        intervals = [lift(new, old, ALPHA, tau_for(0.05)) for new, old in looks(rng, 20_000, 0.2, 0.2, 0.5)]
        last = intervals[-1]
        assert last is not None
        assert last.high < 0
        assert last.low < -0.2 < last.high


def test_the_width_is_that_of_the_paper() -> None:
    variance, alpha, tau = 0.01, 0.05, 0.1
    expected = math.sqrt(0.01 * 0.02 / 0.01 * (-2 * math.log(alpha) - math.log(0.01 / 0.02)))
    assert half_width(variance, alpha, tau) == pytest.approx(expected)


def test_too_little_says_nothing() -> None:
    nothing = Measured()
    few = np.zeros(BUCKETS)
    few[:10] = 1
    assert lift(nothing, nothing, ALPHA, 0.05) is None
    assert lift(Measured(impressions=few), Measured(impressions=few * 100, clicks=few), ALPHA, 0.05) is None


def test_no_click_at_all_where_many_are_due_is_a_loss() -> None:
    many = np.full(BUCKETS, 10.0)
    clicks = np.zeros(BUCKETS)
    clicks[::2] = 1
    found = lift(Measured(impressions=many), Measured(impressions=many, clicks=clicks), ALPHA, 0.05)
    assert found is not None
    assert found.change == -1
    assert found.high < 0


def test_a_lift_reads_well() -> None:
    assert str(Lift(0.021, -0.004, 0.046)) == "+2.1% [-0.4%, +4.6%]"
    assert str(Lift(0.5, -1.0, 20.0)) == "+50.0% [-100.0%, +1000% or more]"


@pytest.mark.parametrize("weight", [1, 5, 50])
def test_a_correct_split_is_no_mismatch_however_often_one_looks(weight: int) -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        new = np.cumsum(rng.random(4_000) < weight / 100)
        highest = max(mismatch(int(new[i]), i + 1 - int(new[i]), weight) for i in range(0, 4_000, 20))
        wrong += highest >= MISMATCH
    assert wrong <= 2


@pytest.mark.parametrize(("weight", "really", "users"), [(5, 0.03, 5_000), (50, 0.46, 10_000), (50, 1.0, 40)])
def test_a_wrong_split_is_found(weight: int, really: float, users: int) -> None:
    new = round(really * users)
    assert mismatch(new, users - new, weight) >= MISMATCH


def test_without_control_or_beyond_what_edges_tell_apart_there_is_no_mismatch() -> None:
    assert mismatch(5_000, 0, 100) == 1
    assert mismatch(MOST_USERS, 10, 50) == 1


@given(new=st.integers(0, 60), old=st.integers(0, 60), weight=st.integers(1, 99))
def test_a_mismatch_is_evidence_and_the_next_user_keeps_it_a_martingale(new: int, old: int, weight: int) -> None:
    now, share = mismatch(new, old, weight), weight / 100
    after = share * mismatch(new + 1, old, weight) + (1 - share) * mismatch(new, old + 1, weight)
    assert after == pytest.approx(now, rel=1e-6)
