"""Replay of a log of clicks: each next click of each session, predicted from what was known by then.

From the second day on (24 hours after the first click) every click that is not the first of its session and that the
session has not had is a prediction: HR@10 and MRR@10 among all articles. A request carries its own session so far;
whatever else a model knows, clicks and outcomes alike, is older than the delay. The age of an article is the time since
its first click in the log.

B requests, E clicks, n places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import threadpoolctl

from tastemaker.clickstream.clicks import Clicks, Requests
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.log import ClickLog, read
from tastemaker.errors import InvalidInput
from tastemaker_training.quality.clicks_models import MODELS, PLACES, StreamModel
from tastemaker_training.quality.outcome import interval

TICK = 10.0
"""Seconds of requests that are answered together, from what was known at their start: no delay is ever shorter."""
HOUR, DAY = 3600.0, 86_400.0

Delay = float | Literal["hour"]
Found = dict[str, dict[str, Any]]


def run(path: Path, model: str, seed: int, delay: Delay, tell: Callable[[str], None]) -> Found:
    """Replay the log at `path` to `model`.

    Returns:
        metrics and intervals by name; in details predictions, and predictions_NAME for each class of age.

    Raises:
        InvalidInput: no model for a stream has this name, or the log is shorter than a day. NotFound: there is no log.
    """
    if model not in MODELS:
        raise InvalidInput(f"{model!r} is no model for a stream of clicks", f"Use one of {', '.join(MODELS)}")
    log = read(path)
    if log.times[-1] < log.times[0] + DAY:
        raise InvalidInput(f"{path}: the log is shorter than a day, which is for learning only", "Give a longer one")
    streamed = MODELS[model](log.articles, log.context.max(axis=1, initial=0) + 1, seed)
    with threadpoolctl.threadpool_limits(1):  # what a tick computes is too small to be shared out
        asked, slates = replay(log, streamed, delay, tell)
    return measure(log, asked, slates)


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
    asked = np.flatnonzero((log.position > 0) & ~log.again)
    tick = np.floor((log.times[asked] - log.times[0]) / TICK)
    starts = np.flatnonzero(np.diff(tick, prepend=-1.0))
    begins = log.times[0] + tick[starts] * TICK
    cuts = np.floor(begins / HOUR) * HOUR if delay == "hour" else begins - delay
    # A click at the very cut is a delay of seconds ago, but belongs to the hour that begins.
    ends = np.searchsorted(log.times, cuts, side="left" if delay == "hour" else "right")
    done = np.concatenate([[0], ends[:-1]])
    for first, end, rows, now in zip(done, ends, np.split(asked, starts[1:]), begins, strict=True):
        yield slice(int(first), int(end)), rows, float(now)


def measure(log: ClickLog, clicks: Ints, slates: Ints) -> Found:
    """HR and MRR of `slates` (V, PLACES) whose answers are `clicks` (V,), all together and by age of the article."""
    hits = slates == log.items[clicks][:, None]
    hit: Doubles = hits.any(axis=1).astype(np.float64)
    gain = hit / (1.0 + hits.argmax(axis=1))
    age = log.times[clicks] - log.first[log.items[clicks]]
    classes: dict[str, npt.NDArray[np.bool_]] = {
        "under_1h": age < HOUR,
        "under_24h": (age >= HOUR) & (age < DAY),
        "older": age >= DAY,
    }
    values = {f"hr@{PLACES}": hit, f"mrr@{PLACES}": gain}
    values |= {f"hr@{PLACES}_{name}": hit[rows] for name, rows in classes.items() if rows.any()}
    return {
        "metrics": {name: float(value.mean()) for name, value in values.items()},
        "intervals": {name: interval(value) for name, value in values.items()},
        "details": {
            "predictions": len(clicks),
            **{f"predictions_{name}": int(rows.sum()) for name, rows in classes.items()},
        },
    }


def _absorbed(log: ClickLog, past: slice) -> Clicks:
    earlier = [log.earlier(click) for click in range(past.start, past.stop)]
    ids = np.arange(past.start, past.stop)
    return Clicks(ids, log.users[past], log.items[past], log.times[past], log.context[:, past], earlier)


def _requests(log: ClickLog, clicks: Ints, now: float) -> Requests:
    last = log.by_session[log.place[clicks] - 1]
    earlier = [log.earlier(click) for click in clicks.tolist()]
    return Requests(clicks, log.users[clicks], earlier, log.context[:, last], now)
