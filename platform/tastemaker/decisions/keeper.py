"""From the streams of recent decisions into the lake, in the ingest worker.

Whatever goes wrong here is logged and tried again: the events beside it must not suffer. The streams are bounded, so
that meanwhile the oldest decisions are lost, and nothing else.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from redis import Redis, ResponseError
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, sleep_using_event, stop_when_event_set
from tenacity import wait_exponential_jitter as backoff

from tastemaker import erasure
from tastemaker.config import Settings
from tastemaker.decisions import archive, recent
from tastemaker.decisions.record import Decision
from tastemaker.decisions.sampling import Detail
from tastemaker.lake import Lake
from tastemaker.metrics import DECISIONS

GROUP: Final = "lake"
CONSUMER: Final = f"{socket.gethostname()}-{os.getpid()}"
UNFINISHED, NEW = "0", ">"  # where XREADGROUP begins
AT_ONCE: Final[dict[Detail, int]] = {"full": 200, "slate": 5000}
"""Entries in one file of the lake, at most."""
GIVEN_UP_MS: Final = 60_000
"""What a worker took so long ago and did not finish is another's."""
SOCKET_TIMEOUT_S: Final = 10.0

log = logging.getLogger(__name__)


def keep(settings: Settings, redis_url: str, stop: threading.Event) -> None:
    """Bring decisions into the lake until `stop` is set, and once more then."""
    retrying = Retrying(
        retry=retry_if_exception_type(Exception),
        wait=backoff(initial=0.5, max=30.0, jitter=0.5),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=before_sleep_log(log, logging.WARNING),
        retry_error_callback=lambda _: None,
    )
    with Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S) as redis:
        while not stop.wait(settings.decisions.lake_flush_s):
            retrying(drain, redis, settings.lake)
        retrying(drain, redis, settings.lake)


def drain(redis: Redis, lake_url: str, given_up_ms: int = GIVEN_UP_MS) -> int:
    """Bring all that the streams hold into the lake; returns how many decisions that was.

    Args:
        given_up_ms: age from which another worker's unfinished entries are taken over.
    """
    lake, stored = Lake(lake_url), 0
    for detail, stream in recent.STREAMS.items():
        with suppress(ResponseError):  # the group is there
            redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        redis.xautoclaim(stream, GROUP, CONSUMER, given_up_ms, count=AT_ONCE[detail], justid=True)
        for after in (UNFINISHED, NEW):
            while entries := _next(redis, detail, after):
                stored += _store(redis, lake, detail, entries)
    return stored


def _next(redis: Redis, detail: Detail, after: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    replies: Any = redis.xreadgroup(GROUP, CONSUMER, {recent.STREAMS[detail]: after}, count=AT_ONCE[detail])
    return replies[0][1] if replies else []


def _store(redis: Redis, lake: Lake, detail: Detail, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> int:
    decisions = _of_users_who_stay(redis, [found for _, fields in entries if (found := recent.read(fields))])
    archive.append(lake, decisions)
    redis.xack(recent.STREAMS[detail], GROUP, *(entry_id for entry_id, _ in entries))
    for kind, count in Counter(decision.detail for decision in decisions).items():
        DECISIONS.labels(kind, "stored").inc(count)
    return len(decisions)


def _of_users_who_stay(redis: Redis, decisions: list[Decision]) -> list[Decision]:
    """Without those of users who asked to be forgotten since."""
    users = sorted({decision.user_id for decision in decisions})
    if not users:
        return []
    asked: Any = redis.hmget(erasure.TOMBSTONES, users)
    tombstones = dict(zip(users, asked, strict=True))
    return [decision for decision in decisions if not recent.is_erased(decision, tombstones[decision.user_id])]
