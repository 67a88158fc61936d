"""How often a caller may ask, kept in this process.

A limit that all edges share would cost each request a round trip to Redis, which is more than a cached answer costs. A
limit protects the edge it is asked at, and load balancers spread callers evenly: so each edge counts by itself, and N
of them let N times the rate through.
"""

from __future__ import annotations


class RateLimiter:
    """The generic cell rate algorithm (ITU-T I.371, annex A): a token bucket that is one number per caller.

    That number is when the bucket will be full again, in seconds of the caller's clock. A bucket holds what comes in
    one second, and one request at least.
    """

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def wait_s(self, caller: str, rate: float, now: float) -> float:
        """0 where the caller may go on (the request counts), else the seconds until it may.

        Args:
            rate: requests per second, above 0.
        """
        full_at = max(self._full_at.get(caller, now), now)
        interval = 1 / rate
        early = full_at - now - max(0.0, 1 - interval)
        if early > 0:
            return early
        self._full_at[caller] = full_at + interval
        return 0.0
