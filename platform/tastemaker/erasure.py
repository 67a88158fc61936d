"""Forgetting a user: at once online, and a tombstone by which a job finds what lies elsewhere (lake, feature store).

Everything that is kept online of one user is under `tm:{user}:…` (`user_keys`): most of it under names that are known,
the rest in an index (`keepsakes`). A new kind of key belongs into `_keys`, or into the index.

    tm:erasures        hash, user → when they asked, in milliseconds since 1970: the tombstones. `retention` drops them
    tm:{user}:erased   the same moment, where the step that applies an event sees it (`events.online`): what waits in
                       the stream, or comes late, is passed over if it is of before

The profile is removed from the lake's users like any change (`profiles.changes`), before the job erases what is left of
it in files.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from itertools import islice
from typing import Any, Final, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import exploration, keepsakes, preferences, profiles
from tastemaker.features.trail import claims_key, epoch_key, erased_key, trail_key

TOMBSTONES: Final = "tm:erasures"
REMEMBERED_S: Final = 30 * 86_400
"""How long the moment is known where events are applied: longer than any backlog waits. As long as older events wait in
the stream, each run of the job says it again."""
EPOCH_LIFE_S: Final = REMEMBERED_S + 86_400
"""Longer than that: by its epoch a slate is known that was under way."""
AT_ONCE: Final = 1000  # users in one round trip

# Forgets a user in one step, unless that was done. KEYS: when they asked, epoch, index, then all keys that have a name;
# those in the index are the same user's, so of the same slot. ARGV: when they asked, life of that and of the epoch (s).
# Returns how many keys there were.
ERASE: Final = """
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 0 end
local erased = redis.call('UNLINK', unpack(KEYS, 4))
for _, key in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do erased = erased + redis.call('UNLINK', key) end
redis.call('UNLINK', KEYS[3])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[3])
return erased
"""


async def erase(redis: AsyncRedis, user_id: str) -> int:
    """Forget all that is online of a user; returns how many keys that was.

    First the profile's removal from the lake, so that the tombstone is no older, by whichever clock. Then the
    tombstone, so that whatever breaks off here is finished by the job. Then all the rest, in one step; the new epoch is
    one that no slate under way can carry. The work grows with what is kept of this user alone.

    Raises:
        redis.RedisError: Redis did not answer. Erasing again goes on.
    """
    removed = await profiles.changes.publish(redis, {user_id: None})
    now = max(time.time_ns() // 1_000_000, removed // 1000)
    await cast("Awaitable[int]", redis.hset(TOMBSTONES, user_id, str(now)))
    keys, arguments = _erasing(user_id, now)
    return int(await cast("Awaitable[int]", redis.eval(ERASE, len(keys), *keys, *arguments)))


def finish(redis: Redis, asked_ms: Mapping[str, int]) -> int:
    """Forget online whoever asked for it, by when they did, where that broke off; returns how many keys there were.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    script, waiting, erased = redis.register_script(ERASE), iter(asked_ms.items()), 0
    while some := list(islice(waiting, AT_ONCE)):
        with redis.pipeline(transaction=False) as pipe:
            for user_id, when in some:
                keys, arguments = _erasing(user_id, when)
                script(keys=keys, args=arguments, client=pipe)
            erased += sum(pipe.execute())
    return erased


def _erasing(user_id: str, asked_ms: int) -> tuple[list[str], list[Any]]:
    """Keys and arguments of ERASE."""
    keys = [erased_key(user_id), epoch_key(user_id), keepsakes.index_key(user_id), *_keys(user_id)]
    return keys, [asked_ms, REMEMBERED_S, EPOCH_LIFE_S]


def _keys(user_id: str) -> list[str]:
    """All keys of a user that have a name, but for the epoch and the moment itself."""
    records = (preferences.records, profiles.records)
    return [
        trail_key(user_id),
        claims_key(user_id),
        *(kind.key(user_id) for kind in records),
        *exploration.clicked_keys(user_id, time.time()),
    ]
