"""Replay of a log of clicks: each next click of each session, predicted from what was known by then.

From the second day on (24 hours after the first click) every click that is not the first of its session and that the
session has not had is a prediction: HR@10 and MRR@10 among all articles. A request carries its own session so far;
whatever else a model knows, clicks and outcomes alike, is older than the delay. The age of an article is the time since
its first click in the log.

B requests, E clicks, n places.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import threadpoolctl

from tastemaker.clickstream.decay import Ints
from tastemaker.clickstream.log import ClickLog, read
from tastemaker.clickstream.replay import DAY, HOUR, PLACES, Delay, asked_for, hits, replay
from tastemaker.errors import InvalidInput
from tastemaker_training.evaluation.intervals import by_standard_error
from tastemaker_training.quality.clicks_models import MODELS

Found = dict[str, dict[str, Any]]

UNTOUCHED = 3 * DAY
"""Since the first click: features and sizes were chosen on days two and three, nothing on those that follow."""


def run(path: Path, model: str, seed: int, delay: Delay, tell: Callable[[str], None]) -> Found:
    """Replay the log at `path` to `model`.

    Returns:
        metrics and intervals by name; in details predictions, and predictions_NAME for each class of age.

    Raises:
        InvalidInput: no model for a stream has this name, the log is shorter than a day, or has nothing to predict.
        NotFound: there is no log.
    """
    if model not in MODELS:
        raise InvalidInput(f"{model!r} is no model for a stream of clicks", f"Use one of {', '.join(MODELS)}")
    log = read(path)
    if log.times[-1] < log.times[0] + DAY:
        raise InvalidInput(f"{path}: the log is shorter than a day, which is for learning only", "Give a longer one")
    if not (log.times[asked_for(log)] >= log.times[0] + DAY).any():
        raise InvalidInput(
            f"{path}: after the first day no session has a second article, so there is nothing to predict",
            "Give a log whose `session` is the same for all clicks of a visit",
        )
    streamed = MODELS[model](log.articles, log.context.max(axis=1, initial=0) + 1, seed)
    with threadpoolctl.threadpool_limits(1):  # what a tick computes is too small to be shared out
        asked, slates = replay(log, streamed, delay, tell)
    return measure(log, asked, slates)


def measure(log: ClickLog, clicks: Ints, slates: Ints) -> Found:
    """HR and MRR of `slates` (V, PLACES) whose answers are `clicks` (V,), all together and by age of the article.

    `…_from_day_4` are of the days on which nothing was chosen (UNTOUCHED).
    """
    hit, gain = hits(log, clicks, slates)
    untouched = log.times[clicks] >= log.times[0] + UNTOUCHED
    age = log.times[clicks] - log.first[log.items[clicks]]
    classes: dict[str, npt.NDArray[np.bool_]] = {
        "under_1h": age < HOUR,
        "under_24h": (age >= HOUR) & (age < DAY),
        "older": age >= DAY,
    }
    values = {f"hr@{PLACES}": hit, f"mrr@{PLACES}": gain}
    values |= {f"hr@{PLACES}_{name}": hit[rows] for name, rows in classes.items() if rows.any()}
    if untouched.any():
        values |= {f"{name}_from_day_4": values[name][untouched] for name in (f"hr@{PLACES}", f"mrr@{PLACES}")}
    return {
        "metrics": {name: float(value.mean()) for name, value in values.items()},
        "intervals": {name: by_standard_error(value) for name, value in values.items()},
        "details": {
            "predictions": len(clicks),
            **{f"predictions_{name}": int(rows.sum()) for name, rows in classes.items()},
        },
    }
