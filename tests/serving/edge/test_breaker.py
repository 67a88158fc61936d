from __future__ import annotations

import asyncio

import pytest

from tastemaker.errors import Unavailable
from tastemaker_serving.edge.breaker import Breaker


class Dependency:
    def __init__(self) -> None:
        self.up = False
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if not self.up:
            raise ConnectionError("refused")


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable, match="Redis does not answer: refused"), breaker:
            raise ConnectionError("refused")


async def test_it_opens_after_failures_in_a_row_and_closes_when_a_probe_succeeds() -> None:
    dependency = Dependency()
    breaker = Breaker("Redis", dependency.probe, (OSError,), threshold=2, pause_s=0.01)
    fail(breaker, 1)
    with breaker:
        pass
    fail(breaker, 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    with pytest.raises(Unavailable, match="has not answered lately"), breaker:
        pytest.fail("an open breaker lets nobody through")
    await asyncio.sleep(0.05)
    assert breaker.is_open
    assert dependency.probes >= 2
    dependency.up = True
    await asyncio.sleep(0.05)
    assert not breaker.is_open
    fail(breaker, 1)
    assert not breaker.is_open


async def test_other_errors_pass_and_do_not_count() -> None:
    breaker = Breaker("Redis", Dependency().probe, (OSError,), threshold=1)
    with pytest.raises(KeyError), breaker:
        raise KeyError("a bug of ours")
    assert not breaker.is_open


async def test_a_dependency_that_says_no_is_not_away() -> None:
    breaker = Breaker("Redis", Dependency().probe, (OSError,), refusals=(PermissionError,), threshold=2)
    fail(breaker, 1)
    for _ in range(5):
        with pytest.raises(Unavailable, match="Redis refuses this: full"), breaker:
            raise PermissionError("full")
    fail(breaker, 1)
    assert not breaker.is_open, "it answered in between"


async def test_closing_stops_the_probe() -> None:
    dependency = Dependency()
    breaker = Breaker("Redis", dependency.probe, (OSError,), threshold=1, pause_s=0.01)
    fail(breaker, 1)
    await breaker.close()
    await asyncio.sleep(0.03)
    assert dependency.probes == 0
