"""The ingest benchmark: events through stream, online state, counters and lake, while the worker is killed.

Events are parsed and published as the edge does it, in lists of many users' events; one worker takes them in.
Afterwards the files of the lake, the trails and the counters are compared with what was sent, event by event.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import columns, embedded
from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker.events import schema, stream, trending
from tastemaker.events.stream import GROUPS, stream_key
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.lake import Lake

PER_REQUEST: Final = 100
USERS: Final = 20_000
ITEMS: Final = 10_007
"""A prime: an item comes to a user again only after as many events of theirs."""
TYPES: Final = ("view", "view", "view", "click", "play", "like")
MOST_WAITING: Final = 200_000
"""Beyond this the publisher waits, as clients do who are told to."""
LOOK_EVERY: Final = 100  # requests
POLL_S: Final = 0.1
STALLED_S: Final = 120.0
FLUSH_S: Final = 1.0
"""A file per shard and second: so the worker is also killed while it writes one."""
UNITS: Final = 10
"""Of a vote: weights are whole tenths, so sums compare exactly."""


@dataclass(frozen=True)
class Result:
    """A run. `lost` and `doubled` are of the lake's files, the trails and the counters together.

    A core is a second of CPU time, user and system, of the worker's processes, those that were killed and their
    starts included. `publisher_cpu_s` is what the edge's part of the work took (parsing and publishing, without HTTP),
    `redis_cpu_s` the server's, which is embedded and shared by all.
    """

    events: int
    kills: int
    events_per_s: float
    events_per_s_per_core: float
    lost: int
    doubled: int
    worker_cpu_s: float
    publisher_cpu_s: float
    redis_cpu_s: float


def run(events: int, kills: int, say: Callable[[str], None]) -> Result:
    """Take in `events` while the worker is killed `kills` times, evenly over the run; `say` hears what happens.

    Raises:
        Unavailable: nothing was taken in for STALLED_S, or the worker ended.
    """
    with TemporaryDirectory(prefix="tastemaker-bench-") as home:
        # The defaults, whatever is configured here: above all, no Redis and no lake of anybody's.
        settings = Settings.model_construct(home=Path(home))
        with (
            embedded.server(settings) as url,
            Redis.from_url(url) as redis,
            ThreadPoolExecutor(1, thread_name_prefix="publish") as pool,
        ):
            since, began = int(time.time()), time.monotonic()
            published = pool.submit(_publish, url, settings, events)
            cpu_s = _work(redis, url, settings, events=events, kills=kills, say=say)
            elapsed_s = time.monotonic() - began
            say("counting")
            server: Any = redis.info("cpu")
            lost, doubled = _differences(redis, settings, events, since)
    return Result(
        events=events,
        kills=kills,
        events_per_s=round(events / elapsed_s),
        events_per_s_per_core=round(events / cpu_s),
        lost=lost,
        doubled=doubled,
        worker_cpu_s=round(cpu_s, 2),
        publisher_cpu_s=round(published.result(), 2),
        redis_cpu_s=round(server["used_cpu_user"] + server["used_cpu_sys"], 2),
    )


def _publish(url: str, settings: Settings, events: int) -> float:
    """Send all events as the edge does; returns the CPU time it took."""
    return asyncio.run(_publish_all(url, settings, events))


async def _publish_all(url: str, settings: Settings, events: int) -> float:
    shards, spent = settings.ingest.shards, 0.0
    async with AsyncRedis.from_url(url) as redis:
        for number, body in enumerate(_bodies(events)):
            began = time.thread_time()
            await stream.publish(redis, schema.parse(body, settings, datetime.now(UTC)), shards)
            spent += time.thread_time() - began
            if number % LOOK_EVERY == 0:
                while max((await stream.load(redis, shards)).waiting.values()) > MOST_WAITING:
                    await asyncio.sleep(POLL_S)
    return spent


def _bodies(events: int) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    numbers = iter(range(events))
    while some := list(itertools.islice(numbers, PER_REQUEST)):
        yield encode([_form(number) for number in some])


def _form(number: int) -> dict[str, str]:
    user, item, kind = _event(number)
    return {"event_id": f"e{number}", "user_id": user, "item_id": item, "event_type": kind}


def _event(number: int) -> tuple[str, str, str]:
    """User, item and type of the event: nobody has an item twice before they had all."""
    user, turn = number % USERS, number // USERS
    return f"user-{user}", f"item-{(user * 31 + turn) % ITEMS}", TYPES[number % len(TYPES)]


def _work(
    redis: Redis,
    url: str,
    settings: Settings,
    *,
    events: int,
    kills: int,
    say: Callable[[str], None],
) -> float:
    """Run the worker to the end of all events, with `kills` in between; returns its CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker = _start(url, settings)
    killed, done, moved = 0, 0, time.monotonic()
    try:
        while done < events:
            time.sleep(POLL_S)
            finished = [_finished(redis, settings, group) for group in GROUPS]
            if min(finished) > done:
                done, moved = min(finished), time.monotonic()
            elif worker.poll() is not None or time.monotonic() - moved > STALLED_S:
                raise Unavailable(f"the worker stopped at {done:,} of {events:,} events", "Its last words are above")
            say(f"{done:,} of {events:,} events; killed {killed} times")
            if killed < kills and max(finished) >= events * (killed + 1) / (kills + 1):
                worker.kill()
                worker.wait()
                killed += 1
                worker = _start(url, settings)
    finally:
        worker.terminate()
        worker.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _start(url: str, settings: Settings) -> subprocess.Popen[bytes]:
    """The worker as `tastemaker ingest`, with nothing configured but its home and more frequent files."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASTEMAKER_")}
    environment |= {
        "TASTEMAKER_HOME": str(settings.home),
        "TASTEMAKER_REDIS_URL": url,
        "TASTEMAKER_INGEST__LAKE_FLUSH_S": str(FLUSH_S),
    }
    return subprocess.Popen([sys.executable, "-m", "tastemaker.cli", "ingest"], env=environment, cwd=settings.home)


def _finished(redis: Redis, settings: Settings, group: str) -> int:
    counts: list[Any] = [redis.hget(f"{stream_key(shard)}:finished", group) for shard in range(settings.ingest.shards)]
    return sum(int(count or 0) for count in counts)


def _differences(redis: Redis, settings: Settings, events: int, since: int) -> tuple[int, int]:
    """Events that are missing and events that are too many, in the lake's files, the trails and the counters."""
    lake = Lake(settings.lake)
    stored = lake.scan(list(lake.event_files()), [columns.EVENT_ID])[columns.EVENT_ID]
    in_lake = Counter(stored.to_pylist()), Counter(f"e{number}" for number in range(events))
    sent = [_event(number) for number in range(events)]
    in_trails = _in_trails(redis, events), Counter((user, key_of(item)) for user, item, _ in sent)
    weights = {kind: round(settings.event_types[kind].weight * UNITS) for kind in TYPES}
    votes: Counter[str] = Counter()
    for _, item, kind in sent:
        votes[item] += weights[kind]
    pairs: list[tuple[Counter[Any], Counter[Any]]] = [in_lake, in_trails, (_in_counters(redis, since), votes)]
    lost = sum((expected - found).total() for found, expected in pairs)
    doubled = sum((found - expected).total() for found, expected in pairs)
    return lost, doubled


def _in_trails(redis: Redis, events: int) -> Counter[tuple[str, int]]:
    users = [f"user-{user}" for user in range(min(events, USERS))]
    found: Counter[tuple[str, int]] = Counter()
    with redis.pipeline(transaction=False) as pipe:
        for user in users:
            pipe.get(trail.trail_key(user))
        for user, blob in zip(users, pipe.execute(), strict=True):
            found.update((user, item) for item in trail.decode(blob)["item"].tolist())
    return found


def _in_counters(redis: Redis, since: int) -> Counter[str]:
    """Votes by item, each in UNITS of a full one."""
    found: Counter[str] = Counter()
    for hour in range(since // trending.HOUR_S, int(time.time()) // trending.HOUR_S + 1):
        counted: Any = redis.zrange(trending.hour_key(hour), 0, -1, withscores=True)
        found.update({item.decode(): round(score * UNITS) for item, score in counted})
    return found
