from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from tastemaker import exploration
from tastemaker.events import trending
from tastemaker.exploration import Exploring
from tastemaker.popular import Person
from tastemaker.retrieval import Wanted
from tastemaker.scenes import Explore, Scene, Scenes
from tastemaker_serving.live import Live

ITEMS = [f"i{code}" for code in range(20)]
SCENES = Scenes(
    {"home": Scene(sources={"two-tower": 1.0}), "news": Scene(sources={"two-tower": 1.0}, explore=Explore(share=0.1))}
)


def wanted(*scenes: str) -> Wanted:
    rows = len(scenes)
    nothing, zero = np.empty((rows, 0), dtype=np.int32), np.zeros(rows, dtype=np.int32)
    expected = np.array([2.0 if scene == "news" else 0.0 for scene in scenes])
    return Wanted(
        nothing.astype(np.float32),
        nothing,
        nothing.astype(np.float32),
        zero - 1,
        nothing,
        nothing,
        zero,
        np.arange(rows, dtype=np.int32),
        exploring=Exploring(expected, np.full(rows, 20), np.full(rows, 7, dtype=np.uint64)),
        scenes=scenes,
    )


def test_before_the_first_reading_there_is_nothing() -> None:
    live = Live("redis://127.0.0.1:1", ITEMS, SCENES)
    assert live.trending(wanted("home"), 5).proposed.size == 0
    assert (live.explore(wanted("news"), 5).proposed == -1).all()


def post(redis_url: str, *votes: tuple[str, str | None]) -> None:
    """Count a user's vote for each (item, country), and make the lists."""
    now = int(time.time())
    with Redis.from_url(redis_url) as redis:
        cast = [trending.Vote(f"u{user}", item, now, 1.0, country) for user, (item, country) in enumerate(votes)]
        trending.count(redis, cast, now)
        trending.post(redis, "1h", now)


async def test_what_trends_is_proposed_first_what_trends_at_home(redis_url: str) -> None:
    post(redis_url, ("i3", None), ("i3", "FR"), ("i8", "DE"), ("gone", None))
    live = Live(redis_url, ITEMS, SCENES)
    async with AsyncRedis.from_url(redis_url) as redis:
        await live.read_trending(redis)

    asked = replace(wanted("home", "home", "home"), people=[Person(), Person("DE"), Person("XX")])
    assert live.trending(asked, 5).proposed.tolist() == [[3, 8], [8, 3], [3, 8]]
    assert live.trending(asked, 1).proposed.tolist() == [[3], [8], [3]]


async def test_only_scenes_that_explore_draw_and_say_how_likely_it_was(redis_url: str) -> None:
    live = Live(redis_url, ITEMS, SCENES)
    async with AsyncRedis.from_url(redis_url) as redis:
        pipe = redis.pipeline(transaction=False)
        exploration.record(pipe, {"i4": 500}, {"i4": 3})
        await pipe.execute()
        await live.read_counts(redis)

    heard = live.explore(wanted("home", "news"), 5)

    assert (heard.proposed[0] == -1).all()
    assert len(set(heard.proposed[1].tolist()) - {-1, 4}) == 5
    assert heard.explored is not None
    assert ((heard.explored.chance[1] > 0) & (heard.explored.chance[1] < 1)).all()
    assert live.explore(wanted("home", "news"), 5).proposed.tolist() == heard.proposed.tolist()


def test_it_reads_in_the_background_until_it_is_stopped(redis_url: str) -> None:
    post(redis_url, ("i3", None))
    live = Live(redis_url, ITEMS, SCENES)
    live.start()
    deadline = time.monotonic() + 10
    while not live.trending(wanted("home"), 5).proposed.size:
        assert time.monotonic() < deadline, "it never read"
        time.sleep(0.01)
    live.stop()
    assert "live sources" not in {thread.name for thread in threading.enumerate()}


def test_it_reads_on_after_what_nobody_foresaw(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    post(redis_url, ("i3", None))
    live = Live(redis_url, ITEMS, SCENES)
    monkeypatch.setattr("tastemaker_serving.live.TRENDING_S", 0.01)
    broken = threading.Event()

    async def breaks(redis: AsyncRedis) -> None:
        if not broken.is_set():
            broken.set()
            raise KeyError("nobody thought of this")
        await Live.read_trending(live, redis)

    monkeypatch.setattr(live, "read_trending", breaks)
    live.start()
    deadline = time.monotonic() + 10
    while not live.trending(wanted("home"), 5).proposed.size:
        assert time.monotonic() < deadline, "it reads no more"
        time.sleep(0.01)
    live.stop()


async def test_an_old_reading_outlives_redis(redis_url: str) -> None:
    post(redis_url, ("i3", None))
    live = Live(redis_url, ITEMS, SCENES)
    async with AsyncRedis.from_url(redis_url) as redis:
        await live.read_trending(redis)
    async with AsyncRedis.from_url("redis://127.0.0.1:1") as gone:
        with pytest.raises(RedisError):
            await live.read_trending(gone)

    assert live.trending(wanted("home"), 5).proposed.tolist() == [[3]]
