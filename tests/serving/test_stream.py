"""The source `stream` on a real Redis and a real lake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import columns, erasure, tombstones
from tastemaker.candidates import SOURCES, STREAM
from tastemaker.catalogue.tables import as_items
from tastemaker.clickstream.follow import Follower
from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker.events import followers, schema, stream
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.lake import Lake
from tastemaker.retrieval import Wanted
from tastemaker.scenes import Scene, Scenes
from tastemaker.types import Event, Item
from tastemaker_serving.overlay import Roster, Update
from tastemaker_serving.stream import Stream

NOW = datetime.now(UTC)
ITEMS = as_items(
    pa.table(
        {
            columns.ITEM_ID: [f"i{code}" for code in range(30)],
            columns.TITLE: [f"Item {code}" for code in range(30)],
            columns.CATEGORIES: [[f"c{code % 3}"] for code in range(30)],
        }
    )
)
SCENES = Scenes(
    {
        "home": Scene(sources={"two-tower": 1.0}),
        "news": Scene(sources={SOURCES[STREAM]: 1.0}, model="retrieval", item_life_h=24),
    }
)


def click(number: int, user: str, item: int, ago_s: float) -> Event:
    return Event(f"e{number}", user, f"i{item}", "click", NOW - timedelta(seconds=ago_s))


def walks(first: int = 0, ago_s: float = 5000.0) -> list[Event]:
    """Forty readers, each of whom reads an article and the one after it."""
    return [
        click(first + 2 * reader + step, f"u{first + reader}", reader % 10 + step, ago_s - 40 * reader - step)
        for reader in range(40)
        for step in range(2)
    ]


def wanted(*histories: Sequence[int], scene: str = "news") -> Wanted:
    rows, length = len(histories), max(map(len, histories))
    codes = np.full((rows, length), -1, dtype=np.int32)
    for row, history in enumerate(histories):
        codes[row, length - len(history) :] = history
    nothing, zero = np.empty((rows, 0), dtype=np.int32), np.zeros(rows, dtype=np.int32)
    return Wanted(
        nothing.astype(np.float32),
        codes,
        np.ones(codes.shape, dtype=np.float32),
        zero - 1,
        nothing,
        nothing,
        zero,
        zero,
        scenes=[scene],
        time=np.full(codes.shape, int(NOW.timestamp()), dtype=np.uint32),
    )


def publish(redis_url: str, settings: Settings, events: Sequence[Event]) -> None:
    async def send() -> None:
        async with AsyncRedis.from_url(redis_url) as redis:
            await stream.publish(redis, events, settings.ingest.shards)

    asyncio.run(send())


def proposed(source: Stream, asked: Wanted, until: Callable[[list[int]], bool] = bool) -> list[int]:
    """What is proposed to the first user, when it is as it should be."""
    for _ in range(200):
        try:
            codes = source.propose(asked, len(ITEMS)).proposed[0]
            found: list[int] = codes[codes >= 0].tolist()
            if until(found):
                return found
        except Unavailable:
            pass
        time.sleep(0.05)
    pytest.fail("it never came")


def erase(redis_url: str, user_id: str) -> None:
    async def ask() -> None:
        async with AsyncRedis.from_url(redis_url) as redis:
            await erasure.erase(redis, user_id)

    asyncio.run(ask())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def source(redis_url: str, settings: Settings) -> Iterator[Stream]:
    source = Stream(settings, redis_url, ITEMS, SCENES)
    yield source
    source.stop()


def test_it_proposes_what_is_read_after_what_the_session_has_read(
    source: Stream, redis_url: str, settings: Settings
) -> None:
    publish(redis_url, settings, walks())
    assert proposed(source, wanted([4]))[0] == 5
    assert (source.propose(wanted([4], scene="home"), 5).proposed == -1).all(), "another scene did not ask"


def test_what_has_left_the_stream_is_found_in_the_lake(source: Stream, redis_url: str, settings: Settings) -> None:
    old, new = walks(), walks(1000, 1700.0)
    lake = Lake(settings.lake)
    lake.append_events(schema.to_arrow(schema.records_of(old)))
    assert proposed(source, wanted([4]))[0] == 5

    publish(redis_url, settings, [click(5000 + reader, f"v{reader}", 20, 90) for reader in range(9)])
    proposed(source, wanted([4]), lambda found: 20 in found)
    lake.append_events(schema.to_arrow(schema.records_of([click(6000 + n, f"w{n}", 21, 50) for n in range(9)])))
    lost = walks(2000, 1600.0)
    publish(redis_url, settings, lost)
    with Redis.from_url(redis_url) as redis:
        for shard in range(settings.ingest.shards):
            redis.xtrim(stream.stream_key(shard), maxlen=0)
    publish(redis_url, settings, new)
    proposed(source, wanted([4]), lambda found: 21 in found)


def test_a_lake_that_cannot_be_read_does_not_keep_it_from_following(
    source: Stream, redis_url: str, settings: Settings
) -> None:
    Lake(settings.lake).append_events(schema.to_arrow(schema.records_of(walks())))
    for file in Path(settings.lake).rglob("*.parquet"):
        file.write_bytes(b"no Parquet")
    publish(redis_url, settings, walks())
    assert proposed(source, wanted([4]))[0] == 5


def test_an_event_that_comes_twice_counts_once(source: Stream, redis_url: str, settings: Settings) -> None:
    twice = [click(1, "a", 7, 10)] * 50 + [click(2 + n, f"b{n}", 8, 9) for n in range(5)]
    publish(redis_url, settings, twice)
    found = proposed(source, wanted([]), lambda found: {7, 8} <= set(found))
    assert found.index(8) < found.index(7)


def test_it_says_how_far_it_is_and_what_it_could_not_take_in(
    source: Stream, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, follow = [True], Follower.follow

    def stumble(self: Follower, events: pa.Table) -> None:
        if "stumble" in events[columns.USER_ID].to_pylist() and fails:
            fails.pop()
            raise ValueError("a bug")
        follow(self, events)

    monkeypatch.setattr(Follower, "follow", stumble)
    with Redis.from_url(redis_url) as redis:

        def seen() -> followers.Followers:
            return followers.look(redis, settings.ingest.shards, time.time())

        publish(redis_url, settings, walks())
        proposed(source, wanted([4]))
        until(lambda: seen().are_abreast)
        publish(redis_url, settings, [click(9000 + n, "stumble", n, 5) for n in range(3)])
        until(lambda: not fails and seen().are_abreast)
        assert seen().caught_up == 1
        assert followers.count_lost(redis) == 3


def test_who_asked_to_be_forgotten_is_with_what_the_lake_has_of_them(
    source: Stream, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "LOOK_S", 0.05)
    Lake(settings.lake).append_events(
        schema.to_arrow(schema.records_of([click(1, "gone", 3, 9), click(2, "ann", 3, 9)]))
    )
    erase(redis_url, "gone")
    publish(redis_url, settings, [click(3, "bob", 4, 5), click(4, "ann", 4, 4)])
    proposed(source, wanted([]), lambda found: {3, 4} <= set(found))
    follower = source._follower
    assert follower is not None
    until(lambda: sorted(map(len, follower._ranker.state.histories.values())) == [1, 2])
    erase(redis_url, "ann")
    until(lambda: list(map(len, follower._ranker.state.histories.values())) == [1])


def test_new_items_are_proposed_once_they_are_read(source: Stream, redis_url: str, settings: Settings) -> None:
    publish(redis_url, settings, walks())
    proposed(source, wanted([4]))
    added = ["new"]
    index = KeyIndex.of(ITEMS[columns.ITEM_ID].to_pylist()).extended(added, 30)
    item = Item("new", "New", categories=("c1",))
    roster, nobody = Roster(30, index, keys_of(added)), np.empty(0, np.int32)
    source.adopt(Update(added, {30: item}, np.array([30]), None, nobody, roster, lambda: np.empty((1, 0), np.float32)))
    events = [Event(f"n{n}", f"n{n}", "new", "click", NOW - timedelta(seconds=5)) for n in range(20)]
    publish(redis_url, settings, events)
    proposed(source, wanted([4]), lambda found: 30 in found)
