from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker_serving.edge.rates import RateLimiter


@given(rate=st.floats(0.1, 1000), gaps=st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_no_window_has_more_than_the_rate_and_one_burst(rate: float, gaps: list[float]) -> None:
    limiter, now, admitted = RateLimiter(), 0.0, []
    for gap in gaps:
        now += gap
        if not limiter.wait_s("a", rate, now):
            admitted.append(now)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= rate * (admitted[last] - begin) + max(1.0, rate) + 1e-6


@given(rate=st.floats(0.1, 1000))
def test_who_waits_as_told_may_go_on(rate: float) -> None:
    limiter = RateLimiter()
    while not (wait_s := limiter.wait_s("a", rate, 5.0)):
        pass
    assert 0 < wait_s <= 1 / rate + 1e-9
    assert not limiter.wait_s("a", rate, 5.0 + wait_s * (1 + 1e-9))


def test_callers_do_not_share() -> None:
    limiter = RateLimiter()
    assert not limiter.wait_s("a", 1, 0.0)
    assert limiter.wait_s("a", 1, 0.0) == pytest.approx(1.0)
    assert not limiter.wait_s("b", 1, 0.0)
