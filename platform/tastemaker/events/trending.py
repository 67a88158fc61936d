"""What is trending now: per 5 minutes, how strongly people took to each item, here and in each country.

A bucket is a sorted set, item -> sum over users of the strongest positive preference each of them showed for it in
those 5 minutes. So one user counts at most once per item and bucket, however often they click, and the sums do not
depend on the order of events. The same sums are kept by the hour: 12 buckets make the shortest window, hours make the
longer ones, where 5 minutes weigh the same within a per cent or two and a week of them would be 2,016 sets to read.

The ingest worker merges buckets, weighted by their age, into one list per window and country (`rank`, `post`); readers
fetch finished lists (`read`). Categories have no counters: a reader who knows the catalogue picks a category's items
from the list of everybody, whose order is theirs, too. `EVERYBODY_TOP` items are enough for a hundred of every
category that a twentieth of all clicks goes to; beyond, a reader fills up with what is popular in the category.

    tm:trending:{H}             hour H since the epoch        tm:trending:{H}:B:users     strongest preferences of B
    tm:trending:{H}:B           its 5 minutes B (0 to 11)     tm:trending:{H}:countries   those that have sets
    tm:trending:{H}[:B]:in:C    of users in country C         tm:trending:1h, 24h, 7d     finished lists
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker.ids import key_of

BUCKET_S: Final = 300
HOUR_S: Final = 3600
REMEMBERED_S: Final = 3600  # since the last event of a bucket: redeliveries come within seconds of a restart
EVERYBODY_TOP: Final = 2000  # items of a list; of a bucket, too: what is below in each of them is not at the top
COUNTRY_TOP: Final = 200
MAX_COUNTRIES: Final = 250

Window = Literal["1h", "24h", "7d"]
WINDOW_S: Final[Mapping[Window, int]] = {"1h": HOUR_S, "24h": 24 * HOUR_S, "7d": 7 * 24 * HOUR_S}
REFRESH_S: Final[Mapping[Window, float]] = {"1h": 2.0, "24h": 30.0, "7d": 60.0}
"""How old a list may be: some thousandth of its window."""
HALF_LIVES: Final = 4  # per window: what happened at its start weighs 1/16 of what happens now
KEPT_S: Final = WINDOW_S["7d"] + HOUR_S  # the longest window, and an hour so that its oldest bucket is whole
BUCKET_KEPT_S: Final = 2 * HOUR_S

EVERYBODY: Final = ""
Lists: TypeAlias = Mapping[str, Sequence[tuple[str, float]]]
"""By country, and of EVERYBODY: items with their decayed counts, best first."""

# Raises each user's contribution to an item to their strongest preference. KEYS: contributions, countries, then for
# everybody and for each country its bucket and its hour. ARGV: when a bucket and when an hour expires (epoch s), life
# of the contributions (s), number of countries, their names, then for each vote: contributor, item, preference, place
# of the country (0: unknown).
COUNT = """
local gained, first = {[0] = {}}, 5 + tonumber(ARGV[4])
for i = first, #ARGV, 4 do
  local before = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  local gain = tonumber(ARGV[i + 2]) - before
  if gain > 0 then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    local item, country = ARGV[i + 1], tonumber(ARGV[i + 3])
    gained[0][item] = (gained[0][item] or 0) + gain
    if country > 0 then
      gained[country] = gained[country] or {}
      gained[country][item] = (gained[country][item] or 0) + gain
    end
  end
end
for place, items in pairs(gained) do
  local bucket, hour = KEYS[3 + 2 * place], KEYS[4 + 2 * place]
  for item, gain in pairs(items) do
    redis.call('ZINCRBY', bucket, gain, item)
    redis.call('ZINCRBY', hour, gain, item)
  end
  redis.call('EXPIREAT', bucket, ARGV[1])
  redis.call('EXPIREAT', hour, ARGV[2])
end
for i = 5, first - 1 do redis.call('SADD', KEYS[2], ARGV[i]) end
redis.call('EXPIREAT', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, list[tuple[str, float]]]).decode


class Vote(NamedTuple):
    """A user's preference (0 to 1) for an item at an instant (UTC epoch seconds), and where the user lives."""

    user_id: str
    item_id: str
    timestamp: int
    preference: float
    country: str | None = None


def hour_key(hour: int, country: str = EVERYBODY) -> str:
    """Key of the counts of the hour from epoch second `hour` * 3600; braces: one node of a Redis Cluster."""
    return f"tm:trending:{{{hour}}}" + (f":in:{country}" if country else "")


def bucket_key(bucket: int, country: str = EVERYBODY) -> str:
    """Key of the counts of the 5 minutes from epoch second `bucket` * 300, on the node of their hour."""
    hour, place = divmod(bucket, HOUR_S // BUCKET_S)
    return f"tm:trending:{{{hour}}}:{place}" + (f":in:{country}" if country else "")


def count(redis: Redis, votes: Iterable[Vote], now: int) -> None:
    """Add `votes` to their buckets in one round trip. Votes that are not positive, or too old to matter, say nothing.

    Counting a vote again within REMEMBERED_S changes nothing.
    """
    by_bucket: dict[int, list[Vote]] = defaultdict(list)
    for vote in votes:
        if vote.preference > 0 and vote.timestamp > now - WINDOW_S["7d"]:
            by_bucket[vote.timestamp // BUCKET_S].append(vote)
    if not by_bucket:
        return
    script = redis.register_script(COUNT)
    with redis.pipeline(transaction=False) as pipe:
        for bucket, cast in by_bucket.items():
            keys, arguments = _counting(bucket, cast)
            script(keys=keys, args=arguments, client=pipe)
        pipe.execute()


def rank(redis: Redis, window: Window, now: int) -> Lists:
    """What trends over `window` up to `now` (epoch seconds): everybody's list and each country's."""
    hours = range(now // HOUR_S, (now - WINDOW_S[window]) // HOUR_S - 1, -1)
    with redis.pipeline(transaction=False) as pipe:
        for hour in hours:
            pipe.smembers(f"{hour_key(hour)}:countries")
        countries = {country.decode() for some in pipe.execute() for country in some}
    lists = {EVERYBODY: _merged(redis, window, now, EVERYBODY, EVERYBODY_TOP)}
    for country in sorted(countries)[:MAX_COUNTRIES]:
        lists[country] = _merged(redis, window, now, country, COUNTRY_TOP)
    return lists


def post(redis: Redis, window: Window, now: int) -> None:
    """Make the lists of `window` anew for all who read them."""
    redis.set(f"tm:trending:{window}", _encode(rank(redis, window, now)), ex=WINDOW_S[window])


async def read(redis: AsyncRedis) -> dict[Window, Lists]:
    """The lists of all windows in one round trip; what is not there yet is empty."""
    async with redis.pipeline(transaction=False) as pipe:
        for window in WINDOW_S:
            pipe.get(f"tm:trending:{window}")
        replies: list[bytes | None] = await pipe.execute()
    return {window: _decode(blob) if blob else {} for window, blob in zip(WINDOW_S, replies, strict=True)}


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


def _counting(bucket: int, votes: Sequence[Vote]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of COUNT."""
    places: dict[str | None, int] = {None: 0}
    flat: list[Any] = []
    for vote in votes:
        place = places.setdefault(vote.country or None, len(places))
        contributor = key_of(f"{vote.user_id}\0{vote.item_id}").to_bytes(8, "little")
        flat += [contributor, vote.item_id, vote.preference, place]
    named = [country or EVERYBODY for country in places]
    hour = bucket * BUCKET_S // HOUR_S
    keys = [f"{bucket_key(bucket)}:users", f"{hour_key(hour)}:countries"]
    for country in named:
        keys += [bucket_key(bucket, country), hour_key(hour, country)]
    start = bucket * BUCKET_S
    return keys, [start + BUCKET_KEPT_S, start + KEPT_S, REMEMBERED_S, len(named) - 1, *named[1:], *flat]


def _merged(redis: Redis, window: Window, now: int, country: str, top: int) -> list[tuple[str, float]]:
    step, key = (BUCKET_S, bucket_key) if window == "1h" else (HOUR_S, hour_key)
    newest, length = now // step, WINDOW_S[window] // step
    with redis.pipeline(transaction=False) as pipe:
        for bucket in range(newest, newest - length, -1):
            pipe.zrevrange(key(bucket, country), 0, top - 1, withscores=True)
        counts = [{item.decode(): score for item, score in reply} for reply in pipe.execute()]
    return decayed(counts, half_life=length / HALF_LIVES)[:top]
