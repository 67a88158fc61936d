"""What lake, feature store and dead letters let go of: users who asked to be forgotten, decisions that are too old.

Whoever came back after they asked keeps what they did since. A file is replaced as a whole or not at all, under the
name that it had, so a reader sees it as it was or as it is to be; a run that was cut short is finished by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from redis import Redis
from redis.client import Pipeline

from tastemaker import columns, erasure
from tastemaker.changes.files import while_files_go
from tastemaker.changes.tables import VERSION
from tastemaker.decisions import archive
from tastemaker.erasure import TOMBSTONES
from tastemaker.events import dead_letters, stream
from tastemaker.features.files import FRESH_USER_FILE, STATE_FILE, USER_FILE
from tastemaker.lake import TIMESTAMP_TYPE, Lake, arrival_ns
from tastemaker.tombstones import Asked

KEPT_MS: Final = 7 * 86_400_000
"""How long a tombstone stays: what was on its way when its user asked has reached the stream by then."""
FILES_AT_ONCE: Final = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Erased:
    """Users who want to be forgotten, and the rows that a run erased for that; `expired` decisions were too old."""

    users: int
    events: int
    profiles: int
    decisions: int
    features: int
    dead_letters: int
    expired: int


def erase(
    lake: Lake,
    redis: Redis,
    keep_days: int | None,
    forget_features: Callable[[Sequence[str]], None],
    now: datetime | None = None,
) -> Erased:
    """Erase what is left of users with a tombstone, and decisions that the lake received more than `keep_days` ago.

    A tombstone is dropped by the first run that finds it older than KEPT_MS and nothing of before it in the stream.

    Args:
        keep_days: None: no decision is too old.
        forget_features: takes users' rows out of the online feature store.

    Raises:
        redis.RedisError: Redis did not answer; what was erased stays so.
    """
    now = now or datetime.now(UTC)
    # First of all: what is in the stream no more is in the files that are looked through below.
    settled_ms = stream.settled_until_ms(redis)
    tombstones: dict[bytes, bytes] = redis.hgetall(TOMBSTONES)  # type: ignore[assignment]
    expired = 0 if keep_days is None else _expire(lake, now - timedelta(days=keep_days))
    if not tombstones:
        return Erased(0, 0, 0, 0, 0, 0, expired)
    users, asked = [user.decode() for user in tombstones], Asked.of(tombstones)
    asked_ms = dict(zip(users, asked.times_ms.to_pylist(), strict=True))
    unfinished = erasure.finish(redis, asked_ms)
    if unfinished:
        log.warning("%d keys were left online by erasures that had broken off", unfinished)
    # A feature build goes on from what earlier ones made of events that are no more, unless it finds no state.
    anew = partial(lake.remove, STATE_FILE)
    events = _erase_rows(lake, list(lake.event_files()), asked, columns.TIMESTAMP, anew, by_arrival=True)
    snapshots = [file for file in (USER_FILE, FRESH_USER_FILE) if lake.exists(file)]
    features = _erase_rows(lake, snapshots, asked, columns.EVENT_TIMESTAMP, anew)
    forget_features(users)
    profiles = _erase_profiles(lake, asked)
    decisions = _erase_rows(lake, archive.files(lake), asked, columns.TIMESTAMP)
    letters = dead_letters.erase(redis, asked_ms)
    _lay_down(redis, tombstones, min(int(now.timestamp() * 1000) - KEPT_MS, settled_ms))
    return Erased(len(users), events, profiles, decisions, features, letters, expired)


@while_files_go
def _erase_profiles(lake: Lake, asked: Asked) -> int:
    """Erase profiles and the changes of them until their users asked; the oldest first, so that a removal goes last."""
    base = [lake.profiles.base] if lake.exists(lake.profiles.base) else []
    erased = _erase_rows(lake, base, asked, columns.CREATED_AT)
    return erased + _erase_rows(lake, lake.profiles.change_files(), asked, VERSION)


def _erase_rows(
    lake: Lake,
    files: Sequence[str],
    asked: Asked,
    moment: str,
    first: Callable[[], None] = lambda: None,
    *,
    by_arrival: bool = False,
) -> int:
    """Erase rows of users who asked at or after the row's time, in column `moment`; returns how many.

    Args:
        first: is called before a file is replaced.
        by_arrival: a file that was there when its user asked holds nothing of later, whatever clients' clocks say.
    """
    erased = 0
    for start in range(0, len(files), FILES_AT_ONCE):
        for file in lake.holding(files[start : start + FILES_AT_ONCE], columns.USER_ID, asked.users):
            gone = partial(_gone, asked, moment, arrival_ns(file) // 1_000_000 if by_arrival else None)
            of_file = sum(pc.sum(gone(rows)).as_py() or 0 for rows in lake.row_groups(file, [columns.USER_ID, moment]))
            if of_file:
                first()
                lake.write_all(file, (rows.filter(pc.invert(gone(rows))) for rows in lake.row_groups(file)))
                log.info("%d rows erased from %s", of_file, file)
            erased += of_file
    return erased


def _gone(asked: Asked, moment: str, arrival_ms: int | None, rows: pa.Table) -> pa.ChunkedArray:
    # A profile that does not say since when it has been is as old as can be.
    moments_ms = pc.fill_null(pc.divide(rows[moment].cast(TIMESTAMP_TYPE).cast(pa.int64()), 1000), 0)
    gone = asked.before(rows[columns.USER_ID], moments_ms)
    return gone if arrival_ms is None else pc.or_(gone, asked.before(rows[columns.USER_ID], pa.scalar(arrival_ms)))


def _expire(lake: Lake, oldest: datetime) -> int:
    """Delete the decisions of days before that of `oldest`; returns how many there were."""
    first = f"{archive.FOLDER}/date={oldest:%Y-%m-%d}"
    expired = 0
    for file in archive.files(lake):
        if file < first:
            expired += lake.rows(file)
            lake.remove(file)
    return expired


def _lay_down(redis: Redis, tombstones: dict[bytes, bytes], before_ms: float) -> None:
    """Drop the tombstones of users who asked before then, and have not again meanwhile."""
    old = {user: when for user, when in tombstones.items() if int(when) < before_ms}

    def drop(pipe: Pipeline) -> None:
        asked: Any = pipe.hmget(TOMBSTONES, [user.decode() for user in old])
        unchanged = [user for user, when in zip(old, asked, strict=True) if old[user] == when]
        pipe.multi()
        if unchanged:
            pipe.hdel(TOMBSTONES, *(user.decode() for user in unchanged))

    if old:
        redis.transaction(drop, TOMBSTONES)
