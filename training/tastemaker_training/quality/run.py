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


def measure(
    layout: str,
    path: Path,
    model: str,
    *,
    seed: int = 0,
    train_on_validation: bool = False,
    delay: str = "60",
    tell: Tell = lambda _: None,
) -> Outcome:
    """Measure `model` on the data set at `path`.

    Raises:
        InvalidInput: the model, the delay or the data do not fit. NotFound: a file is missing.
    """
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
    layout: str, path: Path, model: str, seed: int, train_on_validation: bool, delay: str, tell: Tell
) -> dict[str, Any]:
    if layout == "clicks":
        from tastemaker_training.quality import clicks

        return clicks.run(path, model, seed, _seconds(delay), tell)
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


def _seconds(delay: str) -> float | Literal["hour"]:
    if delay == "hour":
        return "hour"
    if not delay.isdigit():
        raise InvalidInput(f"--delay {delay!r} is neither seconds nor 'hour'", "Use a whole number of seconds, or hour")
    return int(delay)
