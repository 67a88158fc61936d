"""How sure a mean over users is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Numbers = npt.NDArray[np.float64]

MANY = 5_000
"""Users from which on a mean is distributed as good as normally, and resampling would only take long."""


def interval(values: Numbers, seed: int) -> list[float]:
    """95 % interval of the mean of `values` (V,): by the bootstrap, of MANY users or more by the standard error."""
    return bootstrap(values, seed) if len(values) < MANY else by_standard_error(values)


def bootstrap(values: Numbers, seed: int) -> list[float]:
    """95 % bootstrap interval of the mean of `values` (V,), bias-corrected and accelerated (Efron 1987).

    Its acceleration takes V means of V - 1 values each.
    """
    if len(values) < 2 or np.ptp(values) == 0.0:
        return [float(values.mean())] * 2
    found = stats.bootstrap((values,), np.mean, n_resamples=2000, batch=200, rng=np.random.default_rng(seed))
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def by_standard_error(values: Numbers) -> list[float]:
    """95 % interval of the mean of `values` (V,), as if that were distributed normally."""
    mean, error = float(values.mean()), float(stats.sem(values)) if len(values) > 1 else 0.0
    if error == 0.0:
        return [mean, mean]
    low, high = stats.norm.interval(0.95, mean, error)
    return [float(low), float(high)]
