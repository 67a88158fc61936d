"""Forgetting a user: at once online, and a tombstone by which a job finds what lies elsewhere (lake, feature store).

Everything that is kept online of one user is under `tm:{user}:…` (`user_keys`), whoever wrote it: that is what is
erased. The tombstone is a field of the hash `tm:erasures`, user → when they asked, in milliseconds since 1970. Their
profile is removed from the lake's users like any change (`profiles.changes`), before the job erases what is left of it
in files.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, Final, cast

from redis.asyncio import Redis

from tastemaker import preferences, profiles, user_keys
from tastemaker.features.trail import epoch_key, trail_key

TOMBSTONES: Final = "tm:erasures"
EPOCH_LIFE_S: Final = 7 * 86_400
"""Longer than any cached slate lives."""


async def erase(redis: Redis, user_id: str) -> int:
    """Forget all that is online of a user; returns how many keys that was.

    First the profile's removal from the lake, so that the tombstone is no older, by whichever clock. Then the
    tombstone, so that whatever breaks off here is finished by the job. Then what says most, in one step; the new epoch
    is one that no slate under way can carry. Then all other keys, as they are found (`user_keys.found`).

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
    async for key in user_keys.found(redis, user_id):
        if key != kept:
            erased += int(await redis.delete(key))
    return erased
