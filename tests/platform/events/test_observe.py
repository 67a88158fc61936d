from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tastemaker import coverage, metrics
from tastemaker.catalogue import log
from tastemaker.changes.keeper import keepers
from tastemaker.config import Ingest, Settings
from tastemaker.errors import Conflict
from tastemaker.events import ingest, observe, stream
from tastemaker.events.observe import Observer
from tastemaker.events.stream import GROUPS, Group, shard_of
from tastemaker.events.tail import Tail
from tastemaker.features.files import MATERIALIZED_KEY
from tastemaker.lake import ITEM_SCHEMA, Lake
from tastemaker.types import Event, Item

NOW = 1_770_000_000.0
SHARDS = 2


def gauge(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"tastemaker_{name}", labels)
    return math.nan if value is None else value


def lake_of(settings: Settings, items: int) -> Lake:
    lake = Lake(settings.lake)
    columns: dict[str, object] = {name: pa.nulls(items, ITEM_SCHEMA.field(name).type) for name in ITEM_SCHEMA.names}
    columns |= {"item_id": [f"i{number}" for number in range(items)], "title": ["A film"] * items}
    lake.replace_items(pa.table(columns))
    return lake


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def unknown() -> Iterator[None]:
    """Gauges are the process's own: each test begins with what a new process shows."""
    metrics.USER_FEATURES_AGE_SECONDS.set(math.nan)
    metrics.CATALOGUE_COVERAGE_RATIO.set(math.nan)
    yield
    metrics.STREAM_BACKLOG_EVENTS.clear()
    metrics.FOLLOWERS.clear()
    metrics.FOLLOWER_LAG_SECONDS.set(math.nan)


def test_gauges_show_what_redis_and_the_lake_hold(redis: Redis, redis_url: str, settings: Settings) -> None:
    redis.set(MATERIALIZED_KEY, int(NOW) - 7300)
    coverage.record(redis, ["i1", "i2", "i3"], NOW)
    events = [Event(f"e{number}", "ann", "i1", "like", datetime.now(UTC)) for number in range(5)]
    asyncio.run(_publish(redis_url, events))
    online = Group(redis, "online", shard_of("ann", SHARDS), settings.event_types)
    online.finish(online.read(4), 0)
    Observer(redis, lake_of(settings, 12), GROUPS, SHARDS, lambda: NOW).look()
    assert gauge("user_features_age_seconds") == 7300
    assert gauge("catalogue_coverage_ratio") == 0.25
    assert gauge("stream_backlog_events", group="online") == 0
    assert gauge("stream_backlog_events", group="lake") == 5


async def test_coverage_is_of_the_items_that_there_are_after_all_changes(
    redis: Redis, redis_url: str, settings: Settings
) -> None:
    coverage.record(redis, ["i1", "i2", "i3"], NOW)
    lake = Lake(settings.lake)
    async with AsyncRedis.from_url(redis_url) as client:
        await log.items.publish(client, {f"new{number}": Item(f"new{number}", "A film") for number in range(6)})
    for keeper in keepers(lake, redis):
        keeper.step()
    Observer(redis, lake, GROUPS, SHARDS, lambda: NOW).look()
    assert gauge("catalogue_coverage_ratio") == 3 / 6, "without an import there are changes alone"
    lake_of(settings, 12)
    async with AsyncRedis.from_url(redis_url) as client:
        await log.items.publish(client, {"i1": Item("i1", "Another title"), "i2": None, "new9": Item("new9", "A film")})
        await log.items.publish(client, {f"new{number}": Item(f"new{number}", "A film") for number in range(12)})
    for keeper in keepers(lake, redis):
        keeper.step()
    assert lake.catalogue.rows() == lake.items().num_rows == 12 - 1 + 12
    Observer(redis, lake, GROUPS, SHARDS, lambda: NOW).look()
    assert gauge("catalogue_coverage_ratio") == 3 / 23


def test_followers_are_shown_with_their_lag_and_losses(redis: Redis, redis_url: str, settings: Settings) -> None:
    lost = gauge("events_total", event_type="", result="not followed")
    asyncio.run(_publish(redis_url, [Event("e", "ann", "i1", "like", datetime.now(UTC))]))
    came = time.time()
    Tail(redis, SHARDS).read(caught_up=False)
    done = Tail(redis, SHARDS)
    done.read()
    done.read(lost=7)
    Observer(redis, Lake(settings.lake), GROUPS, SHARDS, lambda: came + 30).look()
    assert gauge("followers", state="caught up") == 1
    assert gauge("followers", state="catching up") == 1
    assert gauge("follower_lag_seconds") == pytest.approx(30, abs=1)
    assert gauge("events_total", event_type="", result="not followed") - (0 if math.isnan(lost) else lost) == 7


def test_of_an_empty_installation_nothing_is_claimed(redis: Redis, settings: Settings) -> None:
    Observer(redis, Lake(settings.lake), GROUPS, SHARDS).look()
    assert math.isnan(gauge("user_features_age_seconds"))
    assert math.isnan(gauge("catalogue_coverage_ratio"))
    assert math.isnan(gauge("follower_lag_seconds"))
    assert gauge("followers", state="caught up") == 0
    assert gauge("stream_backlog_events", group="online") == 0


def test_an_imported_catalogue_is_noticed_at_once_and_a_changed_one_soon(redis: Redis, settings: Settings) -> None:
    now = [NOW]
    observer = Observer(redis, Lake(settings.lake), GROUPS, SHARDS, lambda: now[0])
    observer.look()
    coverage.record(redis, ["i1"], NOW)
    lake_of(settings, 4)
    observer.look()
    assert gauge("catalogue_coverage_ratio") == 1 / 4
    lake_of(settings, 2)
    observer.look()
    assert gauge("catalogue_coverage_ratio") == 1 / 4
    now[0] += observe.CATALOGUE_LIFE_S
    observer.look()
    assert gauge("catalogue_coverage_ratio") == 1 / 2


def test_without_redis_the_age_grows_and_the_rest_is_unknown(
    redis: Redis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    now = [NOW]
    redis.set(MATERIALIZED_KEY, int(NOW))
    coverage.record(redis, ["i1"], NOW)
    with Redis(port=free_port(), retry=Retry(NoBackoff(), 0)) as away:
        observer = Observer(redis, lake_of(settings, 2), GROUPS, SHARDS, lambda: now[0])
        observer.look()
        observer._redis = away
        now[0] += 60
        observer.look()
    assert gauge("user_features_age_seconds") == 60
    assert math.isnan(gauge("catalogue_coverage_ratio"))
    assert math.isnan(gauge("stream_backlog_events", group="lake"))
    assert math.isnan(gauge("followers", state="caught up"))
    assert "Redis cannot be observed" in caplog.text


def test_a_lake_that_fails_hides_only_what_it_knows(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Lake, name: str) -> int:
        raise RuntimeError("no credentials")

    redis.set(MATERIALIZED_KEY, int(NOW) - 1)
    monkeypatch.setattr(Lake, "rows", fail)
    Observer(redis, Lake(settings.lake), GROUPS, SHARDS, lambda: NOW).look()
    assert gauge("user_features_age_seconds") == 1
    assert math.isnan(gauge("catalogue_coverage_ratio"))
    assert "the catalogue cannot be counted: no credentials" in caplog.text


def test_the_worker_exposes_its_metrics_until_it_stops(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(home=tmp_path, ingest=Ingest(lake_flush_s=0.1, metrics_port=port))
    redis.set(MATERIALIZED_KEY, int(time.time()) - 100)
    stop = threading.Event()
    worker = threading.Thread(target=ingest.run, args=(settings, redis_url, stop), daemon=True)
    worker.start()
    try:
        deadline = time.monotonic() + 20
        while not 100 <= scraped(port).get("tastemaker_user_features_age_seconds", math.nan) < 200:
            assert time.monotonic() < deadline, "the age was never shown"
            time.sleep(0.02)
    finally:
        stop.set()
        worker.join(10)
    assert not worker.is_alive()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_named(redis_url: str, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        settings = Settings(home=tmp_path, ingest=Ingest(metrics_port=port))
        with pytest.raises(Conflict, match=rf"port {port} \(ingest.metrics_port\) cannot be used"):
            ingest.run(settings, redis_url, threading.Event())


def scraped(port: int) -> dict[str, float]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


async def _publish(url: str, events: list[Event]) -> None:
    async with AsyncRedis.from_url(url) as client:
        await stream.publish(client, events, SHARDS)
