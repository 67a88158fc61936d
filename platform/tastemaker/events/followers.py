"""How far those are who read the stream beside the groups (`tail`): each says so whenever it comes for more.

tm:events:followers    by reader, as JSON: its `Report`
tm:events:unfollowed   events that readers could not take in, and nobody has counted yet
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis import Redis
from redis.client import Pipeline

from tastemaker.events.stream import stream_key

FOLLOWERS_KEY: Final = "tm:events:followers"
UNFOLLOWED_KEY: Final = "tm:events:unfollowed"
KEPT_S: Final = 600
"""A reader that was silent for so long is taken to be no more. To begin, one reads days of the lake in one go."""
BEGINNING: Final = "0-0"


class Report(msgspec.Struct, frozen=True):
    """What a reader says of itself."""

    time: float  # seconds since 1970
    after: list[str]  # the last entry of each shard that it is done with
    caught_up: bool  # whether it has taken in what it had to begin with


@dataclass(frozen=True)
class Followers:
    """Those who said something lately."""

    caught_up: int
    catching_up: int
    oldest_ms: int | None
    """When Redis received the oldest entry that one of them is not done with; None: there is none."""

    @property
    def are_abreast(self) -> bool:
        """Whether there are any, and every one came back for more after all that there is."""
        return self.caught_up > 0 and self.catching_up == 0 and self.oldest_ms is None

    def lag_s(self, now: float) -> float | None:
        """Age of that entry; 0 where there is none, None where nobody follows."""
        if not self.caught_up + self.catching_up:
            return None
        return 0.0 if self.oldest_ms is None else max(0.0, now - self.oldest_ms / 1e3)


def report(pipe: Pipeline, name: str, said: Report, lost: int) -> None:
    """Say what the reader `name` has to say, with `lost` more events that it could not take in."""
    if lost:
        pipe.incrby(UNFOLLOWED_KEY, lost)
    pipe.hset(FOLLOWERS_KEY, name, msgspec.json.encode(said).decode())
    pipe.expire(FOLLOWERS_KEY, KEPT_S)


def look(redis: Redis, shards: int, now: float) -> Followers:
    """Who follows, and how far behind the slowest is; forgets those who fell silent.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(FOLLOWERS_KEY)
        for shard in range(shards):
            pipe.xinfo_stream(stream_key(shard))
        said, *infos = pipe.execute(raise_on_error=False)  # nobody may have published to a shard yet
    if isinstance(said, Exception):
        raise said
    reports = {name: msgspec.json.decode(blob, type=Report) for name, blob in said.items()}
    silent = [name for name, one in reports.items() if one.time < now - KEPT_S]
    if silent:
        redis.hdel(FOLLOWERS_KEY, *silent)
    live = [one for name, one in reports.items() if name not in silent]
    caught_up = sum(one.caught_up for one in live)
    return Followers(caught_up, len(live) - caught_up, _oldest_ms(redis, live, infos))


def count_lost(redis: Redis) -> int:
    """How many events could not be taken in since somebody, anywhere, asked this. Raises as `look` does."""
    lost: Any = redis.getdel(UNFOLLOWED_KEY)
    return int(lost or 0)


def place(entry_id: str) -> tuple[int, int]:
    """The id of an entry as it is ordered: milliseconds since 1970, and a number."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _oldest_ms(redis: Redis, live: Sequence[Report], infos: Sequence[Any]) -> int | None:
    """When the oldest entry came that is still to be done; of those that left the stream meanwhile, the newest."""
    behind = {}
    for shard, info in enumerate(infos):
        newest = info["last-generated-id"].decode() if isinstance(info, dict) else BEGINNING
        slowest = min((one.after[shard] for one in live if shard < len(one.after)), key=place, default=newest)
        if place(slowest) < place(newest):
            behind[shard] = slowest, newest
    if not behind:
        return None
    with redis.pipeline(transaction=False) as pipe:
        for shard, (slowest, _) in behind.items():
            pipe.xrange(stream_key(shard), min=f"({slowest}", count=1)
        found = pipe.execute()
    firsts = [
        entries[0][0].decode() if entries else newest
        for entries, (_, newest) in zip(found, behind.values(), strict=True)
    ]
    return min(place(first)[0] for first in firsts)
