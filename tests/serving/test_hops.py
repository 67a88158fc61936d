"""A ranker that is away costs one batch its budget, and no other."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from tastemaker.errors import Unavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    from tastemaker_serving import hops

ASKED: Any = "a batch"
ROSTER: Any = "a roster"


class PlayedRanker:
    """Answers while it is `there`, and hangs otherwise."""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.asked = 0
        self.is_ready = True

    async def rank(self, asked: Any, roster: Any) -> Any:
        self.asked += 1
        await self.there.wait()
        return asked, roster

    async def ping(self) -> bool:
        await self.there.wait()
        return self.is_ready


async def test_a_ranker_that_hangs_is_not_asked_again_before_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "PAUSE_S", 0.001)
    ranker = PlayedRanker()
    rank = hops.guarded(ranker.rank, ranker.ping, budget_ms=1)
    for _ in range(3):
        with pytest.raises(Unavailable, match="the ranker"):
            await rank(ASKED, ROSTER)
    assert ranker.asked == 1
    ranker.there.set()
    assert await until_it_answers(rank) == (ASKED, ROSTER)


async def test_one_that_says_that_it_is_not_ready_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "PAUSE_S", 0.001)
    ranker = PlayedRanker()
    ranker.is_ready = False
    rank = hops.guarded(ranker.rank, ranker.ping, budget_ms=1)
    with pytest.raises(Unavailable):
        await rank(ASKED, ROSTER)
    ranker.there.set()
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await rank(ASKED, ROSTER)
    assert ranker.asked == 1
    ranker.is_ready = True
    assert await until_it_answers(rank) == (ASKED, ROSTER)


async def until_it_answers(rank: hops.Rank) -> Any:
    async with asyncio.timeout(30):
        while True:
            try:
                return await rank(ASKED, ROSTER)
            except Unavailable:
                await asyncio.sleep(0.01)
