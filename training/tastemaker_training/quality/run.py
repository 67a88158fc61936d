"""One benchmark run: read, fit, measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tastemaker.errors import InvalidInput
from tastemaker_training import recipes
from tastemaker_training.evaluation.intervals import by_standard_error
from tastemaker_training.quality.formats import FORMATS
from tastemaker_training.quality.outcome import Outcome, measured

Tell = Callable[[str], None]

DELAY = "60"
"""Seconds until a click may be used, where nothing else is asked for."""


def measure(
    layout: str,
    path: Path,
    model: str,
    *,
    seed: int = 0,
    train_on_validation: bool = False,
    delay: str | None = None,
    tell: Tell = lambda _: None,
) -> Outcome:
    """Measure `model` on the data set at `path`.

    Raises:
        InvalidInput: the model, the delay or the data do not fit. NotFound: a file is missing.
    """
    _refuse_what_does_not_apply(layout, model, train_on_validation, delay)
    if layout == "ctr":
        model = "ranker"
    with measured() as cost:
        found = _measure(layout, path, model, seed, train_on_validation, delay, tell)
    return Outcome(
        format=layout,
        model=model,
        metrics=found["metrics"],
        intervals=found["intervals"],
        seed=seed,
        wall_s=cost.wall_s,
        cpu_s=cost.cpu_s,
        peak_rss_mb=cost.peak_rss_mb,
        details=found.get("details", {}),
    )


def _measure(
    layout: str, path: Path, model: str, seed: int, train_on_validation: bool, delay: str | None, tell: Tell
) -> dict[str, Any]:
    if layout == "clicks":
        from tastemaker_training.quality import clicks

        return clicks.run(path, model, seed, _seconds(delay or DELAY), tell)
    if layout == "ctr":
        from tastemaker_training.quality import ctr

        return ctr.run(path, seed, tell)
    from tastemaker_training.quality import models

    problem = FORMATS[layout](path, train_on_validation)
    source = models.fit(model, problem, replace(recipes.default(), seed=seed), tell)
    values = problem.measure(source, tell)
    return {
        "metrics": {name: float(per_user.mean()) for name, per_user in values.items()},
        "intervals": {name: by_standard_error(per_user) for name, per_user in values.items()},
        "details": {"users": len(problem.truth.users), "items": len(problem.train.item_ids)},
    }


def _refuse_what_does_not_apply(layout: str, model: str, train_on_validation: bool, delay: str | None) -> None:
    if layout == "ctr" and model not in ("hybrid", "ranker"):
        raise InvalidInput(f"ctr tables are for the ranker alone, not for {model!r}", "Leave --model out")
    if layout in ("clicks", "ctr") and train_on_validation:
        raise InvalidInput(f"the format {layout} has no validation items", "Leave --train-on-validation out")
    if layout != "clicks" and delay is not None:
        raise InvalidInput(f"--delay is for --format clicks, not for {layout}", "Leave --delay out")


def _seconds(delay: str) -> float | Literal["hour"]:
    if delay == "hour":
        return "hour"
    if not delay.isdigit():
        raise InvalidInput(f"--delay {delay!r} is neither seconds nor 'hour'", "Use a whole number of seconds, or hour")
    return int(delay)
