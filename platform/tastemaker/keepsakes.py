"""What is kept online of one user for a while under names that nobody can foresee: cached slates, what scenes showed.

Beside it stands an index of its keys, so that they are found without a look through all that Redis has. What was under
way when its user asked to be forgotten (`erasure`) is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tastemaker.features.trail import erased_key
from tastemaker.user_keys import user_key

# KEYS: when the user asked to be forgotten, index, then what is to be kept. ARGV: the epoch that the user had before
# this was made, its life (s), then a value for each key. Erasure makes the epoch the very moment, so whatever is of
# before has a lower one. Nothing is removed before something is added: a Redis without memory refuses a script by its
# first write only.
KEEP: Final = """
if tonumber(redis.call('GET', KEYS[1]) or 0) > tonumber(ARGV[1]) then return 0 end
local now, life = tonumber(redis.call('TIME')[1]), tonumber(ARGV[2])
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i], 'EX', life)
  redis.call('ZADD', KEYS[2], now + life, KEYS[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('TTL', KEYS[2]) < life then redis.call('EXPIRE', KEYS[2], life) end
return 1
"""


def index_key(user_id: str) -> str:
    """Key of the index: a sorted set of keys, by when they expire, in seconds since 1970."""
    return user_key(user_id, "kept")


def keep(pipe: Any, user_id: str, epoch: int, values: Mapping[str, bytes], life_s: int) -> None:
    """Queue on a pipeline, of asyncio or not, that `values`, by their keys, are kept; the caller executes it.

    Args:
        epoch: of the user, read before the values were made.
    """
    keys = [erased_key(user_id), index_key(user_id), *values]
    pipe.eval(KEEP, len(keys), *keys, epoch, life_s, *values.values())
