"""The ingest worker: from the stream to everything that learns from an event.

Two consumer groups read the stream side by side, each acknowledging an event when its own work is done:

- `online`, within milliseconds: the user's trail, the epoch that outdates their cached slates, the trending counters;
- `lake`, every few seconds: one Parquet file.

Beside them `catalogue.keeper` brings the changes of the catalogue into the lake.

So a lake that stalls never delays the next slate. Either may die at any point: what it had not acknowledged is
delivered again. Online effects claim the event's id in the very step that applies them, so they happen once; trending
counts a user once per item anyway; the lake drops a repeated id when it is read.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set
from tenacity import wait_exponential_jitter as backoff

from tastemaker import metrics
from tastemaker.catalogue.keeper import keep
from tastemaker.config import Settings
from tastemaker.events import observe, schema, trending
from tastemaker.events.stream import Entry, Group
from tastemaker.features.trail import RECORD, epoch_key, trail_key
from tastemaker.ids import key_of
from tastemaker.lake import Lake
from tastemaker.types import Event

ONLINE, LAKE = "online", "lake"
POLL_MS = 500  # how soon an idle worker notices that it shall stop
LAKE_BATCH = 10_000  # events in one Parquet file, at most
SOCKET_TIMEOUT_S = 10.0

# Appends a user's events to their trail, each of them once. KEYS: trail, epoch, a claim per event. ARGV: the trail's
# greatest length (bytes), life of a claim (s), a record per event. Returns 1 per event that is new, else 0.
APPLY = """
local new, records = {}, {}
for i = 3, #KEYS do
  local claimed = redis.call('SET', KEYS[i], '', 'NX', 'EX', ARGV[2])
  new[#new + 1] = claimed and 1 or 0
  if claimed then records[#records + 1] = ARGV[i] end
end
if #records > 0 then
  local excess = redis.call('APPEND', KEYS[1], table.concat(records)) - tonumber(ARGV[1])
  if excess > 0 then redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], excess, -1)) end
  redis.call('INCR', KEYS[2])
end
return new
"""

_pack = struct.Struct("<QIf").pack  # one trail.RECORD
assert struct.calcsize("<QIf") == RECORD.itemsize

log = logging.getLogger(__name__)


def run(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    """Ingest events until `stop` is set. Waits for a Redis or a lake that is away, as long as it takes.

    Raises:
        Conflict: the port of the metrics cannot be used.
        Exception: a fault that waiting does not mend; all of them have stopped by then.
    """
    with (
        observe.exposed(settings, redis_url, (ONLINE, LAKE)),
        ThreadPoolExecutor(3, thread_name_prefix="ingest") as pool,
    ):
        groups = [pool.submit(follow, settings, redis_url, stop) for follow in (_follow_online, _follow_lake)]
        groups.append(pool.submit(keep, Lake(settings.lake), redis_url, stop))
        try:
            wait(groups, return_when=FIRST_COMPLETED)
        finally:
            stop.set()
    for group in groups:
        group.result()


def apply(redis: Redis, entries: Sequence[Entry], settings: Settings) -> None:
    """Bring trails, epochs and trending counters up to date with `entries`; doing it again changes nothing."""
    readable = _readable(entries, settings)
    events = [event for _, event in readable]
    applied = _append(redis, events, settings)
    # A client's repetition must not count in another bucket, but our own work, cut short, may lack its vote yet.
    votes = [
        trending.Vote(event.user_id, event.item_id, int(event.timestamp.timestamp()), _preference(event, settings))
        for (entry, event), new in zip(readable, applied, strict=True)
        if new or entry.redelivered
    ]
    trending.count(redis, votes, int(time.time()))
    for event, new in zip(events, applied, strict=True):
        metrics.EVENTS.labels(event.event_type, "applied" if new else "duplicate").inc()
    for entry in entries:
        metrics.EVENT_LAG_SECONDS.observe(max(0.0, time.time() - entry.arrived_ms / 1000))


def store(lake: Lake, entries: Sequence[Entry]) -> None:
    """Add `entries` to the lake as one file."""
    events = [entry.event for entry in entries if entry.event is not None]
    lake.append_events(schema.to_arrow(events))
    for event_type, stored in Counter(event.event_type for event in events).items():
        metrics.EVENTS.labels(event_type, "stored").inc(stored)


def _follow_online(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    with _connect(redis_url) as redis:
        group = Group(redis, ONLINE)

        def step() -> None:
            entries = group.read(settings.ingest.batch, POLL_MS)
            apply(redis, entries, settings)
            group.acknowledge(entries)

        _repeat(step, group, stop)


def _follow_lake(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    lake = Lake(settings.lake)
    with _connect(redis_url) as redis:
        group = Group(redis, LAKE)

        def step() -> None:
            # Waiting comes first, so that the last file is written after the signal to stop.
            stop.wait(settings.ingest.lake_flush_s)
            entries = group.read(LAKE_BATCH)
            while entries:
                store(lake, entries)
                group.acknowledge(entries)
                entries = group.read(LAKE_BATCH) if len(entries) == LAKE_BATCH else []

        _repeat(step, group, stop)


def _connect(redis_url: str) -> Redis:
    # No retries inside the client: it would ask for new entries again, and the ones whose delivery was lost on the way
    # would wait for the next restart. `_repeat` asks for those first.
    return Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S, retry=Retry(NoBackoff(), 0))


def _repeat(step: Callable[[], None], group: Group, stop: threading.Event) -> None:
    def after_failure(state: RetryCallState) -> None:
        assert state.outcome is not None
        log.warning(
            "ingest (%s): %s; trying again in %.1f s", group.name, state.outcome.exception(), state.upcoming_sleep
        )
        group.rewind()

    retrying = Retrying(
        retry=retry_if_exception_type((RedisError, OSError)),
        wait=backoff(initial=0.1, max=5.0, jitter=0.5),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=after_failure,
        retry_error_callback=lambda _: None,
    )
    # A step at least, so that the last file is written, too, where the signal to stop came before this thread began.
    retrying(step)
    while not stop.is_set():
        retrying(step)


def _readable(entries: Sequence[Entry], settings: Settings) -> list[tuple[Entry, Event]]:
    readable = []
    for entry in entries:
        if entry.event is not None and entry.event.event_type in settings.event_types:
            readable.append((entry, entry.event))
            continue
        metrics.EVENTS.labels("", "unreadable").inc()
        if entry.event is not None:
            log.warning("event %s has undeclared event_type %r", entry.event.event_id, entry.event.event_type)
    return readable


def _append(redis: Redis, events: Sequence[Event], settings: Settings) -> list[bool]:
    """Append each event to its user's trail unless that was done before; returns, per event, whether it was new."""
    by_user: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        by_user[event.user_id].append(index)
    script = redis.register_script(APPLY)
    limits = [settings.ingest.trail_length * RECORD.itemsize, settings.ingest.dedupe_s]
    with redis.pipeline(transaction=False) as pipe:
        for user_id, indices in by_user.items():
            claims = [f"tm:{{{user_id}}}:event:{events[index].event_id}" for index in indices]
            records = [_record(events[index], settings) for index in indices]
            script([trail_key(user_id), epoch_key(user_id), *claims], [*limits, *records], client=pipe)
        replies = pipe.execute()
    applied = [False] * len(events)
    for indices, flags in zip(by_user.values(), replies, strict=True):
        for index, flag in zip(indices, flags, strict=True):
            applied[index] = bool(flag)
    return applied


def _record(event: Event, settings: Settings) -> bytes:
    return _pack(key_of(event.item_id), int(event.timestamp.timestamp()), _preference(event, settings))


def _preference(event: Event, settings: Settings) -> float:
    return settings.event_type(event.event_type).preference(event.value)
