"""From the logs of changes into the lake, so that the next training knows what catalogue and profiles have become.

Every change is written before it may be forgotten: the lake says itself up to which version it has them, and a worker
that died, or two that run at once, at worst write a change again, which changes nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from redis import Redis, RedisError
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, sleep_using_event, stop_when_event_set
from tenacity import wait_exponential_jitter as backoff

from tastemaker import profiles
from tastemaker.catalogue.log import items
from tastemaker.changes.files import ChangingTable
from tastemaker.changes.log import PAGE, ChangeLog
from tastemaker.changes.tables import to_arrow
from tastemaker.lake import Lake
from tastemaker.metrics import CHANGES

INTERVAL_S: Final = 2.0
ITEMS_KEPT_DAYS: Final = 30
"""How long the log keeps an item that the lake has: as long as a bundle may serve that was made before it."""
DAY: Final = 86_400_000_000
"""In versions, which are microseconds."""
SOCKET_TIMEOUT_S: Final = 10.0

logger = logging.getLogger(__name__)


class Keeper:
    """Brings the changes of one log to their table.

    Args:
        kept_days: how long the log keeps what the lake has.
    """

    def __init__(self, redis: Redis, log: ChangeLog[Any], table: ChangingTable, kept_days: int) -> None:
        self._redis = redis
        self._log = log
        self._table = table
        self._kept = kept_days * DAY
        self._stored: int | None = None

    def step(self) -> int:
        """Write what the lake lacks, and let the log forget what is old; returns how many changes were written."""
        if self._stored is None:
            self._stored = self._table.version()
        written, more = 0, True
        while more:
            page = self._log.read(self._redis, self._stored)
            if page.changes:
                self._table.append(to_arrow(page.changes, self._table.schema))
            CHANGES.labels(self._log.name, "stored").inc(len(page.changes))
            CHANGES.labels(self._log.name, "unreadable").inc(page.unreadable)
            # Beyond those that cannot be read, too: they would stand before all that come after them.
            self._stored, more = page.version, page.is_full
            written += len(page.changes)
        while self._log.forget(self._redis, self._stored - self._kept) == PAGE:
            pass
        return written


def keepers(lake: Lake, redis: Redis) -> list[Keeper]:
    """Of the catalogue, whose log others follow, and of the profiles, which nobody else needs."""
    return [
        Keeper(redis, items, lake.catalogue, ITEMS_KEPT_DAYS),
        Keeper(redis, profiles.changes, lake.profiles, 0),
    ]


def keep(lake: Lake, redis_url: str, stop: threading.Event) -> None:
    """Bring changes to the lake until `stop` is set. Waits for a Redis or a lake that is away, as long as it takes."""
    retrying = Retrying(
        retry=retry_if_exception_type((RedisError, OSError)),
        wait=backoff(initial=0.1, max=5.0, jitter=0.5),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        retry_error_callback=lambda _: None,
    )
    with Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S) as redis:
        working, stopping = keepers(lake, redis), False
        while not stopping:
            # Waiting comes first, so that what came last is written after the signal to stop.
            stopping = stop.wait(INTERVAL_S)
            for keeper in working:
                retrying(keeper.step)
