"""From the log of changes into the lake, so that the next training knows what the catalogue has become.

Every change is written before it may be forgotten: the lake says itself up to which version it has them, and a worker
that died, or two that run at once, at worst write a change again, which changes nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from redis import Redis, RedisError
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, sleep_using_event, stop_when_event_set
from tenacity import wait_exponential_jitter as backoff

from tastemaker.catalogue import log as changes
from tastemaker.catalogue import schema
from tastemaker.lake import Lake

INTERVAL_S: Final = 2.0
KEPT_DAYS: Final = 30
"""How long the log keeps a change that the lake has: as long as a bundle may serve that was made before it."""
DAY: Final = 86_400_000_000
"""In versions, which are microseconds."""
SOCKET_TIMEOUT_S: Final = 10.0

log = logging.getLogger(__name__)


class Keeper:
    """Brings changes to the lake."""

    def __init__(self, redis: Redis, lake: Lake) -> None:
        self._redis = redis
        self._lake = lake
        self._stored: int | None = None

    def step(self) -> int:
        """Write what the lake lacks, and let the log forget what is old; returns how many changes were written."""
        if self._stored is None:
            self._stored = self._lake.items_version()
        written = 0
        while found := changes.read(self._redis, self._stored):
            self._lake.append_item_changes(schema.to_arrow(found))
            self._stored = found[-1].version
            written += len(found)
        changes.forget(self._redis, self._stored - KEPT_DAYS * DAY)
        return written


def keep(lake: Lake, redis_url: str, stop: threading.Event) -> None:
    """Bring changes to the lake until `stop` is set. Waits for a Redis or a lake that is away, as long as it takes."""
    retrying = Retrying(
        retry=retry_if_exception_type((RedisError, OSError)),
        wait=backoff(initial=0.1, max=5.0, jitter=0.5),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=before_sleep_log(log, logging.WARNING),
        retry_error_callback=lambda _: None,
    )
    with Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S) as redis:
        keeper = Keeper(redis, lake)
        # Waiting comes first, so that what came last is written after the signal to stop.
        while not stop.wait(INTERVAL_S):
            retrying(keeper.step)
        retrying(keeper.step)
