"""How much of the catalogue is recommended: edges note what they show, one HyperLogLog for each hour.

An estimate is off by about 0.8 per cent (https://redis.io/docs/latest/develop/data-types/probabilistic/hyperloglogs).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from redis import Redis

HOUR_S: Final = 3600
HOURS: Final = 25
"""The current hour, which has only begun, and the 24 before it."""
LIFE_S: Final = (HOURS + 1) * HOUR_S


def key_of_hour(now: float) -> str:
    """Key of what is shown in the hour of `now` (seconds since 1970). All hours lie in one slot of a Redis cluster."""
    return f"tm:coverage:{{shown}}:{int(now // HOUR_S)}"


def record(pipe: Any, item_ids: Iterable[str], now: float) -> None:
    """Queue on a pipeline, of asyncio or not, that `item_ids` were shown at `now`; the caller executes it."""
    shown = list(item_ids)
    if not shown:
        return
    key = key_of_hour(now)
    pipe.pfadd(key, *shown)
    pipe.expire(key, LIFE_S)


def ratio(redis: Redis, now: float, catalogue: int) -> float:
    """Share in [0, 1] of a catalogue of so many items that was shown in the 24 hours before `now`.

    Raises:
        ZeroDivisionError: the catalogue is empty.
    """
    shown: Any = redis.pfcount(*(key_of_hour(now - hour * HOUR_S) for hour in range(HOURS)))
    return min(1.0, int(shown) / catalogue)
