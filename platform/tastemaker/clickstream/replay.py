"""Replay of a log of clicks to a model: each next click of each session, predicted from what was known by then.

Every click that is not the first of its session and that the session has not had is a prediction; from the second day
on they count. A request carries its own session so far; whatever else a model knows, clicks and outcomes alike, is
older than the delay.

B requests, n places, V predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol

import numpy as np

from tastemaker.clickstream.clicks import Clicks, Requests
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.log import ClickLog

PLACES: Final = 10
TICK: Final = 10.0
"""Seconds of requests that are answered together, from what was known at their start: no delay is ever shorter."""
HOUR: Final = 3600.0
DAY: Final = 86_400.0

Delay = float | Literal["hour"]


class StreamModel(Protocol):
    """Learns from clicks as they come in, and answers requests in between."""

    def absorb(self, clicks: Clicks) -> None:
        """Learn from `clicks`, which are newer than all before."""
        ...

    def rank(self, requests: Requests, places: int) -> Ints:
        """The best articles for each request that its session has not had, shape (B, places); -1 is none."""
        ...


def predictions(log: ClickLog) -> Ints:
    """The clicks that are to be predicted and count (V,)."""
    asked = asked_for(log)
    counting: Ints = asked[log.times[asked] >= log.times[0] + DAY]
    return counting


def replay(log: ClickLog, model: StreamModel, delay: Delay, tell: Callable[[str], None]) -> tuple[Ints, Ints]:
    """All predictions: the clicks to be predicted (V,), and what was (V, PLACES)."""
    asked, slates, day = [], [], 0
    for past, clicks, now in ticks(log, delay):
        model.absorb(_absorbed(log, past))
        slates.append(model.rank(_requests(log, clicks, now), PLACES))
        asked.append(clicks)
        if now >= log.times[0] + (day + 0.25) * DAY:
            day = (now - log.times[0]) / DAY
            tell(f"{day:.1f} days replayed")
    clicks, found = np.concatenate(asked), np.concatenate(slates)
    scored = log.times[clicks] >= log.times[0] + DAY
    return clicks[scored], found[scored]


def ticks(log: ClickLog, delay: Delay) -> Iterator[tuple[slice, Ints, float]]:
    """Clicks to absorb, then requests, named by the clicks that they led to, and their time, in turn."""
    asked = asked_for(log)
    tick = np.floor((log.times[asked] - log.times[0]) / TICK)
    starts = np.flatnonzero(np.diff(tick, prepend=-1.0))
    begins = log.times[0] + tick[starts] * TICK
    cuts = np.floor(begins / HOUR) * HOUR if delay == "hour" else begins - delay
    # A click at the very cut is a delay of seconds ago, but belongs to the hour that begins.
    ends = np.searchsorted(log.times, cuts, side="left" if delay == "hour" else "right")
    done = np.concatenate([[0], ends[:-1]])
    for first, end, rows, now in zip(done, ends, np.split(asked, starts[1:]), begins, strict=True):
        yield slice(int(first), int(end)), rows, float(now)


def hits(log: ClickLog, clicks: Ints, slates: Ints) -> tuple[Doubles, Doubles]:
    """Whether each of `clicks` (V,) is in its slate (V, n), and its reciprocal rank there, 0 where it is not."""
    found = slates == log.items[clicks][:, None]
    hit: Doubles = found.any(axis=1).astype(np.float64)
    return hit, hit / (1.0 + found.argmax(axis=1))


def asked_for(log: ClickLog) -> Ints:
    """The clicks that are to be predicted: a session's first ones of each article, but its very first."""
    return np.flatnonzero((log.position > 0) & ~log.again)


def _absorbed(log: ClickLog, past: slice) -> Clicks:
    earlier = [log.earlier(click) for click in range(past.start, past.stop)]
    ids = np.arange(past.start, past.stop)
    return Clicks(ids, log.users[past], log.items[past], log.times[past], log.context[:, past], earlier)


def _requests(log: ClickLog, clicks: Ints, now: float) -> Requests:
    last = log.by_session[log.place[clicks] - 1]
    earlier = [log.earlier(click) for click in clicks.tolist()]
    return Requests(clicks, log.users[clicks], earlier, log.context[:, last], now)
