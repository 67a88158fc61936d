"""What is trending now: per 5 minutes, how strongly people took to each item.

A bucket is a sorted set, item -> sum over users of the strongest positive preference each of them showed for it in
those 5 minutes. So one user counts at most once per item and bucket, however often they click, and the sums do not
depend on the order of events. Readers weight buckets by their age.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.ids import key_of

BUCKET_S = 300
KEPT_S = 25 * 3600  # the longest window, and an hour so that its oldest bucket is whole
REMEMBERED_S = 3600  # since the last event of a bucket: redeliveries come within seconds of a restart
TOP = 200  # items read per bucket

Window = Literal["1h", "24h"]
WINDOW_S: Mapping[Window, int] = {"1h": 3600, "24h": 86_400}
HALF_LIVES = 4  # per window: what happened at its start weighs 1/16 of what happens now

# Raises a user's contribution to an item to their strongest preference. KEYS: bucket, contributions. ARGV: when the
# bucket expires (epoch s), life of the contributions (s), then for each event: contributor, item, preference.
COUNT = """
for i = 3, #ARGV, 3 do
  local before = tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or 0)
  local now = tonumber(ARGV[i + 2])
  if now > before then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
    redis.call('ZINCRBY', KEYS[1], now - before, ARGV[i + 1])
  end
end
redis.call('EXPIREAT', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
"""


class Vote(NamedTuple):
    """A user's preference (0 to 1) for an item at an instant (UTC epoch seconds)."""

    user_id: str
    item_id: str
    timestamp: int
    preference: float


def bucket_key(bucket: int) -> str:
    """Key of the counters of the 5 minutes from epoch second `bucket` * 300; braces: one node of a Redis Cluster."""
    return f"tm:trending:{{{bucket}}}"


def count(redis: Redis, votes: Iterable[Vote], now: int) -> None:
    """Add `votes` to their buckets in one round trip. Votes that are not positive, or too old to matter, say nothing.

    Counting a vote again within REMEMBERED_S changes nothing.
    """
    arguments: dict[int, list[Any]] = defaultdict(list)
    for vote in votes:
        if vote.preference > 0 and vote.timestamp > now - WINDOW_S["24h"]:
            contributor = key_of(f"{vote.user_id}\0{vote.item_id}").to_bytes(8, "little")
            arguments[vote.timestamp // BUCKET_S] += [contributor, vote.item_id, vote.preference]
    if not arguments:
        return
    script = redis.register_script(COUNT)
    with redis.pipeline(transaction=False) as pipe:
        for bucket, flat in arguments.items():
            key = bucket_key(bucket)
            expires = bucket * BUCKET_S + KEPT_S
            script(keys=[key, f"{key}:users"], args=[expires, REMEMBERED_S, *flat], client=pipe)
        pipe.execute()


async def read(redis: AsyncRedis, window: Window, now: int, n: int = TOP) -> list[tuple[str, float]]:
    """The `n` items that trend most over `window` up to `now` (epoch seconds), with their scores, best first."""
    newest = now // BUCKET_S
    buckets = range(newest, newest - WINDOW_S[window] // BUCKET_S, -1)
    async with redis.pipeline(transaction=False) as pipe:
        for bucket in buckets:
            pipe.zrevrange(bucket_key(bucket), 0, TOP - 1, withscores=True)
        replies = await pipe.execute()
    counts = [{item.decode(): score for item, score in reply} for reply in replies]
    return decayed(counts, half_life=len(buckets) / HALF_LIVES)[:n]


def decayed(counts: Sequence[Mapping[str, float]], half_life: float) -> list[tuple[str, float]]:
    """Items by their exponentially decayed sums, best first; `counts` are buckets, newest first.

    A bucket weighs half of the one `half_life` buckets after it. Equal scores are in order of item id.
    """
    scores: dict[str, float] = defaultdict(float)
    for age, bucket in enumerate(counts):
        weight = 0.5 ** (age / half_life)
        for item_id, score in bucket.items():
            scores[item_id] += weight * score
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
