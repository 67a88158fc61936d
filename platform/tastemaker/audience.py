"""Who there is: the users of a lake, those of late, and those who want to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
from redis import Redis

from tastemaker import columns
from tastemaker.erasure import TOMBSTONES
from tastemaker.lake import Lake, happened

FILES_AT_ONCE = 100


def everyone(lake: Lake) -> list[str]:
    """Ids of all who have a profile or an event, sorted."""
    found = set(lake.users()[columns.USER_ID].to_pylist())
    for users in _users_of(lake, list(lake.event_files()), None):
        found.update(users)
    return sorted(found)


def active(lake: Lake, since: datetime) -> list[str]:
    """Ids of those with an event since then (UTC), sorted."""
    found: set[str] = set()
    for users in _users_of(lake, list(lake.event_files(since)), happened(since, None)):
        found.update(users)
    return sorted(found)


def forgotten(redis: Redis) -> set[str]:
    """Ids of those who asked to be erased, of whom the lake may still know.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    found: Any = redis.hkeys(TOMBSTONES)
    return {user_id.decode() for user_id in found}


def _users_of(lake: Lake, files: list[str], wanted: ds.Expression | None) -> Iterator[list[str]]:
    waiting = iter(files)
    while part := list(islice(waiting, FILES_AT_ONCE)):
        yield pc.unique(lake.scan(part, [columns.USER_ID], wanted)[columns.USER_ID]).to_pylist()
