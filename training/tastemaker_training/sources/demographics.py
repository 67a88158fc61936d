"""What is popular in a segment of the population, for users of whom nothing else is known.

Counts of a segment are few, so each of its lists is shrunk towards what is popular with everybody, the more the fewer
they are and the less the segment differs: an empirical Bayes estimate.

L likes, S segments, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from tastemaker_training.interactions import Ints

Doubles = npt.NDArray[np.float64]
LOG_STRENGTHS: Final = (-4.0, 12.0)
"""Bounds of the logarithm of the prior's strength, in likes."""
USUAL, SPREAD = np.log(30.0), 1.5
"""What it is expected to be, Gaussian: a segment of a handful of likes tells nothing of its own strength."""
TELLING: Final = 1_000
"""Most popular items that tell the prior's strength."""


def segment_lists(items: Ints, segments: Sequence[str | None], size: int, limit: int) -> dict[str, list[int]]:
    """Item codes by how popular they are in each segment that has likes, at most `limit`; the largest segment first.

    An item's share in a segment is its share with everybody times a factor, which is Gamma distributed around 1: given
    c likes where E were to be expected, its mean is (c + a) / (E + a) (the Gamma-Poisson shrinker, DuMouchel 1999).

    Args:
        items: liked item codes (L,). segments: of the users who liked them (L,); None where it is not known.
        size: N.
    """
    likes = np.bincount(items, minlength=size)
    share = likes / max(len(items), 1)
    telling = np.argsort(-likes, kind="stable")[:TELLING]
    told = np.array([segment or "" for segment in segments])
    names, sizes = np.unique(told[told != ""], return_counts=True)
    lists = {}
    for name in names[np.argsort(-sizes, kind="stable")].tolist():
        counts = np.bincount(items[told == name], minlength=size)
        expected = counts.sum() * share
        strength = prior_strength(counts[telling], expected[telling])
        posterior = share * (counts + strength) / (expected + strength)
        ranked = np.argsort(-posterior, kind="stable")[:limit]
        lists[name] = ranked[posterior[ranked] > 0].tolist()
    return lists


def prior_strength(counts: Ints, expected: Doubles) -> float:
    """The likeliest `a` given `counts` (n,): negative binomial around `expected`, of variance E + E² / a."""
    counts, expected = counts[expected > 0], expected[expected > 0]

    def loss(log_strength: float) -> float:
        a = np.exp(log_strength)
        likelihood = gammaln(counts + a) - gammaln(a) + a * np.log(a / (a + expected))
        likelihood += counts * np.log(expected / (a + expected))
        return float(0.5 * ((log_strength - USUAL) / SPREAD) ** 2 - likelihood.sum())

    return float(np.exp(minimize_scalar(loss, bounds=LOG_STRENGTHS, method="bounded").x))
