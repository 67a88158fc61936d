"""The candidate source `stream`: what a ranker that follows the clicks puts first, for items that live for hours.

It begins to follow when it is asked for the first time, with the last days of the lake, where this process can read
it; until it has caught up, the other sources stand alone.

B users, k proposals.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from redis import Redis, RedisError

from tastemaker.attributes import Attributes
from tastemaker.candidates import SOURCES, STREAM
from tastemaker.clickstream.follow import Asked, Follower
from tastemaker.clickstream.ranker import StreamRecipe
from tastemaker.config import Settings
from tastemaker.errors import NotFound, Unavailable
from tastemaker.events import schema
from tastemaker.events.tail import Tail
from tastemaker.lake import Lake
from tastemaker.retrieval import Heard, Wanted
from tastemaker.scenes import Scenes
from tastemaker.tombstones import Tombstones
from tastemaker_serving import models
from tastemaker_serving.overlay import Update

POLL_S: Final = 0.1
TIMEOUT_S: Final = 5.0
BEGINS_BEFORE: Final = timedelta(days=2)
"""How far back a new follower reads in the lake."""
MISSED_BEFORE: Final = timedelta(minutes=10)
"""And one that missed something, beyond the newest event it knows."""
HOUR_S: Final = 3600.0

log = logging.getLogger(__name__)


class Stream:
    """The source of one process.

    Args:
        items: the bundle's, in code order.
    """

    def __init__(self, settings: Settings, redis_url: str, items: pa.Table, scenes: Scenes) -> None:
        self._settings, self._redis_url = settings, redis_url
        self._lives = {
            name: np.inf if scene.item_life_h is None else scene.item_life_h * HOUR_S
            for name, scene in scenes.by_name.items()
            if scene.sources.get(SOURCES[STREAM], 0) > 0
        }
        self._attributes = Attributes.of(items)
        self._follower: Follower | None = None
        self._caught_up = False
        self._lost = 0
        self._beginning = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def propose(self, wanted: Wanted, k: int) -> Heard:
        """What each user reads next, in the scenes that want to know.

        Raises:
            Unavailable: it has not caught up with the events.
        """
        follower = self._following()
        if not self._caught_up:
            raise Unavailable("it has not caught up with the events yet")
        codes = np.full((len(wanted.scene), k), -1, dtype=np.int32)
        for place, scene in enumerate(wanted.scenes):
            rows = np.flatnonzero(wanted.scene == place)
            if scene in self._lives and len(rows):
                devices = [wanted.people[row].device if wanted.people else None for row in rows.tolist()]
                asked = Asked(wanted.history[rows], wanted.time[rows], devices, self._lives[scene])
                codes[rows] = follower.answer(asked, k)
        return Heard(codes)

    def adopt(self, update: Update) -> None:
        """Know the items as they are now."""
        with self._beginning:
            attributes = self._attributes.changed(update.added, update.items, update.gone)
            if self._follower is not None:
                self._follower.describe(attributes)
            self._attributes = attributes  # at the end, for an update that failed comes again

    def stop(self) -> None:
        """Follow no more."""
        self._stopped.set()
        with self._beginning:
            if self._thread is not None:
                self._thread.join(TIMEOUT_S)

    def _following(self) -> Follower:
        with self._beginning:
            if self._follower is None:
                self._follower = Follower(self._attributes, self._settings.event_types, StreamRecipe())
                self._thread = threading.Thread(target=self._follow, args=[self._follower], name="stream", daemon=True)
                self._thread.start()
            return self._follower

    def _follow(self, follower: Follower) -> None:
        models.use_threads(1)
        away = False
        with Redis.from_url(self._redis_url, socket_timeout=TIMEOUT_S) as redis:
            tail, tombstones = Tail(redis, self._settings.ingest.shards), Tombstones(redis)
            while not self._stopped.wait(POLL_S):
                try:
                    self._read(tail, tombstones, follower)
                    away = False
                except (RedisError, OSError) as error:
                    if not away:
                        log.warning("the events cannot be read: %s", error)
                    away = True
                except Exception:
                    log.exception("some events were not taken in")
            with suppress(RedisError, OSError):
                tail.leave()

    def _read(self, tail: Tail, tombstones: Tombstones, follower: Follower) -> None:
        """What is new; before it what is in the lake, where this is the beginning, or something came and went.

        Who asked to be forgotten is, with what they did before that.
        """
        follower.forget(tombstones.look())
        records, missed = tail.read(caught_up=self._caught_up, lost=self._lost)
        self._lost = len(records)  # until they are taken in
        if missed or not self._caught_up:
            follower.follow(tombstones.without(self._from_lake(follower.now)))
        if records:
            follower.follow(tombstones.without(schema.to_arrow(records)))
        self._lost, self._caught_up = 0, True

    def _from_lake(self, now: float) -> pa.Table:
        since = datetime.fromtimestamp(now, UTC) - MISSED_BEFORE if now else datetime.now(UTC) - BEGINS_BEFORE
        try:
            return Lake(self._settings.lake).events(since)
        except (NotFound, OSError, pa.ArrowException) as error:
            log.warning("the stream is followed without the lake %s: %s", self._settings.lake, error)
            return schema.to_arrow([])
