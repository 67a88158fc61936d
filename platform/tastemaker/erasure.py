"""Forgetting a user: at once online, and a tombstone by which a job finds what lies elsewhere (lake, feature store).

Everything that is kept online of one user is under `tm:{user}:…`, whoever wrote it: that is what is erased. The
tombstone is a field of the hash `tm:erasures`, user → when they asked, in milliseconds since 1970. Their profile is
removed from the lake's users like any change (`profiles.changes`), before the job erases what is left of it in files.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import Any, Final, cast

from redis.asyncio import Redis

from tastemaker import preferences, profiles
from tastemaker.features.trail import epoch_key, trail_key

TOMBSTONES: Final = "tm:erasures"
EPOCH_LIFE_S: Final = 7 * 86_400
"""Longer than any cached slate lives."""
SCANNED: Final = 1000
"""Keys that Redis looks at in one go: a millisecond, in which nobody else is answered."""

_GLOB = re.compile(r"([\[\]*?\\])")


async def erase(redis: Redis, user_id: str) -> int:
    """Forget all that is online of a user; returns how many keys that was.

    First the profile's removal from the lake, so that the tombstone is no older, by whichever clock. Then the
    tombstone, so that whatever breaks off here is finished by the job. Then what says most, in one step; the new epoch
    is one that no slate under way can carry. Then all other keys: finding them is a pass over the key space, about a
    second per million keys, beside which Redis serves others.

    Raises:
        redis.RedisError: Redis did not answer. Erasing again goes on.
    """
    removed = await profiles.changes.publish(redis, {user_id: None})
    now = max(time.time_ns() // 1_000_000, removed // 1000)
    await cast("Awaitable[int]", redis.hset(TOMBSTONES, user_id, str(now)))
    async with redis.pipeline(transaction=True) as pipe:
        pipe.delete(trail_key(user_id), preferences.records.key(user_id), profiles.records.key(user_id))
        pipe.set(epoch_key(user_id), now, ex=EPOCH_LIFE_S)
        replies: list[Any] = await pipe.execute()
    erased = int(replies[0])
    kept = epoch_key(user_id).encode()
    literal = _GLOB.sub(r"\\\1", user_id)
    async for key in redis.scan_iter(match=f"tm:{{{literal}}}:*", count=SCANNED):
        if key != kept:
            erased += int(await redis.delete(key))
    return erased
