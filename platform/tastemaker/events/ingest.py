"""The ingest worker: from the stream to everything that learns from an event.

Two consumer groups read each shard side by side, each acknowledging an event when its own work is done:

- `online`, within milliseconds: the user's trail, the epoch that outdates their cached slates, the trending counters;
- `lake`, every few seconds: one Parquet file per shard.

Beside them `changes.keeper` brings the changes of catalogue and profiles into the lake, and `decisions.keeper` the
decisions.

So a lake that stalls never delays the next slate. Either may die at any point: what it had not acknowledged is
delivered again. Online effects are idempotent (see `online`). A file of the lake is drafted, then promised in the step
that acknowledges its events, then shown: whoever finds a promise keeps it, so no event is twice in the lake's files,
either, unless a client sent it twice; then it counts once when the lake is read.

Any number of workers share the shards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set
from tenacity import wait_exponential_jitter as backoff

from tastemaker import metrics
from tastemaker.changes.keeper import keep
from tastemaker.config import Settings
from tastemaker.decisions.keeper import keep as keep_decisions
from tastemaker.errors import NotFound
from tastemaker.events import observe, online, schema, stream, trending
from tastemaker.events.stream import GROUPS, LAKE, ONLINE, Entry, Group
from tastemaker.lake import Lake

POLL_MS = 500  # how soon an idle worker notices that it shall stop
LAKE_BATCH = 50_000  # events in one Parquet file, or some more
SOCKET_TIMEOUT_S = 10.0
DEAD_LETTERS_KEPT = 10_000  # per shard

Follower = Callable[[Settings, str, threading.Event], None]

log = logging.getLogger(__name__)


def run(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    """Ingest events until `stop` is set. Waits for a Redis or a lake that is away, as long as it takes.

    Raises:
        Conflict: the port of the metrics cannot be used.
        Exception: a fault that waiting does not mend; all of them have stopped by then.
    """
    with observe.exposed(settings, redis_url, GROUPS):
        shards = _shards(settings, redis_url, stop)
        followers: list[Follower] = [partial(_follow_online, shard=shard) for shard in shards]
        followers += [partial(_follow_lake, shards=shards), _follow_trends, _keep_changes, keep_decisions]
        with ThreadPoolExecutor(len(followers), thread_name_prefix="ingest") as pool:
            following = [pool.submit(follow, settings, redis_url, stop) for follow in followers]
            try:
                wait(following, return_when=FIRST_COMPLETED)
            finally:
                stop.set()
    for future in following:
        future.result()


def store(lake: Lake, group: Group, entries: Sequence[Entry]) -> None:
    """Add `entries` to the lake as one file, unless another worker did; then begin again with the rest."""
    records = [record for entry in entries for record in entry.records]
    file = lake.draft_events(schema.to_arrow(records))
    if not group.commit(entries, file):
        lake.drop_draft(file)
        group.rewind()
        return
    if file:
        lake.publish(file)
        group.keep(file)
    for event_type, stored in Counter(record.event_type for record in records).items():
        metrics.EVENTS.labels(event_type, "stored").inc(stored)


def keep_promises(lake: Lake, group: Group) -> None:
    """Show the files whose writer died, or is about to show them itself."""
    for file in group.promised():
        try:
            lake.publish(file)
        except NotFound as error:
            log.error("events are lost: %s", error)
        group.keep(file)


def connect(redis_url: str) -> Redis:
    """A client without retries of its own.

    It would ask for new entries again, and the ones whose delivery was lost on the way would wait for the next restart.
    `_repeat` asks for those first.
    """
    return Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S, retry=Retry(NoBackoff(), 0))


def _follow_online(settings: Settings, redis_url: str, stop: threading.Event, shard: int) -> None:
    with connect(redis_url) as redis:
        group = Group(redis, ONLINE, shard, settings.event_types)

        def step() -> None:
            entries = group.read(settings.ingest.batch, POLL_MS)
            online.apply(redis, entries, settings)
            filed = group.finish(entries, DEAD_LETTERS_KEPT)
            if filed:
                metrics.EVENTS.labels("", "unreadable").inc(filed)
                log.warning("%d dead letters from shard %d; see `tastemaker ingest dead-letters`", filed, shard)

        _repeat(step, f"{ONLINE}, shard {shard}", stop, group.rewind)


def _follow_lake(settings: Settings, redis_url: str, stop: threading.Event, shards: Sequence[int]) -> None:
    lake = Lake(settings.lake)
    with connect(redis_url) as redis:
        groups = [Group(redis, LAKE, shard, settings.event_types) for shard in shards]

        def step() -> None:
            # Waiting comes first, so that the last file is written after the signal to stop.
            stop.wait(settings.ingest.lake_flush_s)
            for group in groups:
                keep_promises(lake, group)
                while entries := group.read(LAKE_BATCH):
                    store(lake, group, entries)
                    if group.caught_up:
                        break
                stream.trim(redis, group.shard, GROUPS)

        def rewind() -> None:
            for group in groups:
                group.rewind()

        _repeat(step, LAKE, stop, rewind)


def _follow_trends(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    due = dict.fromkeys(trending.WINDOW_S, 0.0)
    with connect(redis_url) as redis:

        def step() -> None:
            for window, when in due.items():
                if time.monotonic() >= when:
                    trending.post(redis, window, int(time.time()))
                    due[window] = time.monotonic() + trending.REFRESH_S[window]
            stop.wait(min(trending.REFRESH_S.values()))

        _repeat(step, "trending", stop, lambda: None)


def _keep_changes(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    keep(Lake(settings.lake), redis_url, stop)


def _shards(settings: Settings, redis_url: str, stop: threading.Event) -> list[int]:
    with connect(redis_url) as redis:
        found: list[int] | None = _retrying("shards", stop, lambda: None)(
            stream.shards_in_use, redis, settings.ingest.shards
        )
    return found or list(range(settings.ingest.shards))


def _repeat(step: Callable[[], None], what: str, stop: threading.Event, rewind: Callable[[], None]) -> None:
    retrying = _retrying(what, stop, rewind)
    # A step at least, so that the last file is written, too, where the signal to stop came before this thread began.
    retrying(step)
    while not stop.is_set():
        retrying(step)


def _retrying(what: str, stop: threading.Event, rewind: Callable[[], None]) -> Retrying:
    def after_failure(state: RetryCallState) -> None:
        assert state.outcome is not None
        log.warning("ingest (%s): %s; trying again in %.1f s", what, state.outcome.exception(), state.upcoming_sleep)
        rewind()

    return Retrying(
        retry=retry_if_exception_type((RedisError, OSError)),
        wait=backoff(initial=0.1, max=5.0, jitter=0.5),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=after_failure,
        retry_error_callback=lambda _: None,
    )
