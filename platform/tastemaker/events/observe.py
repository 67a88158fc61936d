"""What the ingest worker exposes to Prometheus: its own counts, and what only Redis knows of the whole platform."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import start_http_server
from redis import Redis, RedisError

from tastemaker import coverage, metrics
from tastemaker.config import Settings
from tastemaker.errors import Conflict
from tastemaker.events import followers, stream
from tastemaker.features.files import MATERIALIZED_KEY
from tastemaker.lake import Lake

INTERVAL_S: Final = 15.0
CATALOGUE_LIFE_S: Final = 600.0
"""How long the counted size of the catalogue is believed."""
SOCKET_TIMEOUT_S: Final = 5.0

log = logging.getLogger(__name__)


@contextmanager
def exposed(settings: Settings, redis_url: str, groups: tuple[str, ...]) -> Iterator[None]:
    """Serve `/metrics` on `ingest.metrics_port` and keep the gauges up to date meanwhile; 0 does neither.

    Raises:
        Conflict: the port cannot be used.
    """
    port = settings.ingest.metrics_port
    if port == 0:
        yield
        return
    try:
        server, serving = start_http_server(port)
    except OSError as error:
        raise Conflict(
            f"port {port} (ingest.metrics_port) cannot be used: {error.strerror}",
            "Stop what holds it, or set TASTEMAKER_INGEST__METRICS_PORT to another one",
        ) from error
    stop = threading.Event()
    observing = threading.Thread(
        target=_observe_until, args=(settings, redis_url, groups, stop), name="observe", daemon=True
    )
    observing.start()
    try:
        yield
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        serving.join()
        observing.join()


class Observer:
    """Sets the gauges. What cannot be seen just now is NaN, except the age: the last filling known only grows older."""

    def __init__(
        self,
        redis: Redis,
        lake: Lake,
        groups: tuple[str, ...],
        shards: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._lake = lake
        self._groups = groups
        self._shards = shards
        self._clock = clock
        self._materialized = math.nan
        self._catalogue = 0
        self._counted = -math.inf

    def look(self) -> None:
        """Look once at Redis and the lake. Neither of them away is an error."""
        now = self._clock()
        try:
            materialized: Any = self._redis.get(MATERIALIZED_KEY)
            if materialized is not None:
                self._materialized = float(materialized)
            backlogs: dict[str, float] = {**stream.backlog(self._redis, self._shards, self._groups)}
            covered = self._covered(now)
            self._look_at_followers(now)
        except RedisError as error:
            log.warning("Redis cannot be observed: %s", error)
            backlogs, covered = dict.fromkeys(self._groups, math.nan), math.nan
            _show_followers(math.nan, math.nan, math.nan)
        metrics.USER_FEATURES_AGE_SECONDS.set(now - self._materialized)
        metrics.CATALOGUE_COVERAGE_RATIO.set(covered)
        for group, backlog in backlogs.items():
            metrics.STREAM_BACKLOG_EVENTS.labels(group).set(backlog)

    def _look_at_followers(self, now: float) -> None:
        found = followers.look(self._redis, self._shards, now)
        lag_s = found.lag_s(now)
        _show_followers(found.caught_up, found.catching_up, math.nan if lag_s is None else lag_s)
        metrics.EVENTS.labels("", "not followed").inc(followers.count_lost(self._redis))

    def _covered(self, now: float) -> float:
        if now - self._counted >= CATALOGUE_LIFE_S or not self._catalogue:
            try:
                self._catalogue = self._lake.catalogue.rows()
                self._counted = now
            except Exception as error:  # each file system has its own, and none may end the observing
                log.warning("the catalogue cannot be counted: %s", error)
        return coverage.ratio(self._redis, now, self._catalogue) if self._catalogue else math.nan


def _show_followers(caught_up: float, catching_up: float, lag_s: float) -> None:
    metrics.FOLLOWERS.labels("caught up").set(caught_up)
    metrics.FOLLOWERS.labels("catching up").set(catching_up)
    metrics.FOLLOWER_LAG_SECONDS.set(lag_s)


def _observe_until(settings: Settings, redis_url: str, groups: tuple[str, ...], stop: threading.Event) -> None:
    with Redis.from_url(redis_url, socket_timeout=SOCKET_TIMEOUT_S) as redis:
        observer = Observer(redis, Lake(settings.lake), groups, settings.ingest.shards)
        while True:
            observer.look()
            if stop.wait(INTERVAL_S):
                return
