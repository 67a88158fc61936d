"""What each colour does during a rollout, counted by the edges in Redis: no Prometheus is needed to decide.

Each edge adds up in memory and flushes once a second (serving's `edge/meter.py`); the leader of the rollout reads the
sums. A period is one step of one rollout: shares of traffic differ between steps, so pooling them would confound the
comparison with the time of day (Kohavi, Tang, Xu, Trustworthy Online Controlled Experiments, 2020, chapter 15).

Clicks and impressions are summed per bucket of users, by a hash that has nothing to do with their colour: users, and so
buckets of users, are independent where single impressions are not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash
from redis import Redis

from tastemaker.metrics import LATENCY_BUCKETS

BUCKETS: Final = 1024
MOST_USERS: Final = 200_000
"""Users of a colour who are told apart within a period (some 15 MB of Redis)."""
LIFE_S: Final = 7 * 86_400
REQUESTS_KEY: Final = "tm:requests"
"""A stream of recent request bodies, as edges posted them to a colour: what a new colour is warmed with."""
RECENT_LENGTH: Final = 200
RECENT_S: Final = 3600
"""They name users, and what an hour ago was asked for says as much of what will be."""
BODY: Final = b"queries"

Counts = npt.NDArray[np.float64]


def sums_key(period: str, colour: str) -> str:
    """Hash of sums: `requests`, `errors`, `fallbacks`, `le:I` (answers within LATENCY_BUCKETS[I], not cumulative; the
    last one is beyond them), `i:B` and `c:B` (impressions and clicks of user bucket B)."""
    return f"tm:meter:{{{period}}}:{colour}"


def users_key(period: str, colour: str) -> str:
    """Set of the users whom the colour served (8-byte hashes)."""
    return f"tm:meter:{{{period}}}:{colour}:users"


def items_key(period: str, colour: str) -> str:
    """HyperLogLog of the items that the colour showed."""
    return f"tm:meter:{{{period}}}:{colour}:items"


def bucket_of(user_id: str) -> int:
    """The bucket of a user."""
    return xxhash.xxh3_64_intdigest(b"bucket\0" + user_id.encode()) % BUCKETS


@dataclass(frozen=True)
class Measured:
    """What one colour did in one period."""

    requests: int = 0
    """Requests that edges sent to the colour, shadow copies included."""
    errors: int = 0
    """Those that it refused, broke off or answered too late."""
    fallbacks: int = 0
    """Those that it answered, but from a lower rung than `ranked`."""
    latency: Counts = field(default_factory=lambda: np.zeros(len(LATENCY_BUCKETS) + 1))
    """Answers by latency bucket, shape (len(LATENCY_BUCKETS) + 1,), not cumulative."""
    users: int = 0
    """Distinct users who got its slates (no shadow copies)."""
    items: int = 0
    """Distinct items in its slates, to about one per cent."""
    impressions: Counts = field(default_factory=lambda: np.zeros(BUCKETS))
    """Slates shown by user bucket, shape (BUCKETS,); cached ones count, too."""
    clicks: Counts = field(default_factory=lambda: np.zeros(BUCKETS))
    """Positive events with a request_id by user bucket, shape (BUCKETS,)."""


def read(redis: Redis, period: str, colour: str) -> Measured:
    """The sums of one colour in one period; all zero where nothing was counted yet."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(sums_key(period, colour))
        pipe.scard(users_key(period, colour))
        pipe.pfcount(items_key(period, colour))
        sums, users, items = pipe.execute()
    return _measured(sums, int(users), int(items))


def remember(pipe: Any, body: bytes) -> None:
    """Queue on a pipeline, of asyncio or not, that `body` was asked for just now; the caller executes it."""
    pipe.xadd(REQUESTS_KEY, {BODY: body}, maxlen=RECENT_LENGTH, approximate=False)
    pipe.xtrim(REQUESTS_KEY, minid=_an_age_ago(), approximate=False)
    pipe.expire(REQUESTS_KEY, RECENT_S)


def recent_bodies(redis: Redis) -> list[bytes]:
    """Recent request bodies, newest first."""
    entries: Any = redis.xrevrange(REQUESTS_KEY, min=_an_age_ago(), count=RECENT_LENGTH)
    return [fields[BODY] for _, fields in entries]


def _an_age_ago() -> int:
    """In milliseconds since 1970, as ids of entries begin: what is older is not recent."""
    return int((time.time() - RECENT_S) * 1000)


def _measured(sums: Mapping[bytes, bytes], users: int, items: int) -> Measured:
    numbers = {name.decode(): float(value) for name, value in sums.items()}
    return Measured(
        requests=int(numbers.get("requests", 0)),
        errors=int(numbers.get("errors", 0)),
        fallbacks=int(numbers.get("fallbacks", 0)),
        latency=_column(numbers, "le", range(len(LATENCY_BUCKETS) + 1)),
        users=users,
        items=items,
        impressions=_column(numbers, "i", range(BUCKETS)),
        clicks=_column(numbers, "c", range(BUCKETS)),
    )


def _column(numbers: Mapping[str, float], prefix: str, rows: Iterable[int]) -> Counts:
    return np.array([numbers.get(f"{prefix}:{row}", 0.0) for row in rows])
