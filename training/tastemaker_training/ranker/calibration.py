"""The ranker's scores as probabilities: a logistic curve over each head's logits, from lists that were kept back.

The lists are whole, with every candidate that retrieval proposed, so that the sampling of negatives needs none of the
correction of He et al. 2014 (equation 4). The curve keeps the order of the scores, and costs a request nothing: it is
folded into the last layer of the exported ranker.

Q lists, C candidates, n candidates of all lists, T heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special
from torch import Tensor

from tastemaker_training.evaluation.calibration import expected_calibration_error
from tastemaker_training.interactions import Flags
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import RankerTask, fit
from tastemaker_training.ranker.model import logits

Flat = npt.NDArray[np.float64]

LOG_SLOPES = (-7.0, 4.0)
"""Of a logit of variance 1: a head that learned nothing still gets a curve that rises."""


@dataclass(frozen=True)
class Curve:
    """The probability sigmoid(slope · z + shift) of a logit z; `slope` is above 0."""

    slope: float
    shift: float

    def __call__(self, values: Flat) -> Flat:
        """Probabilities (n,)."""
        probabilities: Flat = special.expit(self.slope * values + self.shift)
        return probabilities


@dataclass(frozen=True)
class Calibration:
    """The curve of every head, and how far it is off."""

    curves: tuple[Curve, ...]
    report: dict[str, Any]
    """`calibration` of the bundle's report."""


def calibrate(task: RankerTask) -> Calibration:
    """Curves for a ranker of this task, by one that learns from all but a share of the users.

    The served ranker then learns from all, as with scikit-learn's CalibratedClassifierCV without an ensemble. The error
    is of candidates that neither ranker nor curve knew: each half of the users kept back by the curve of the other.
    """
    lists = task.lists
    users = torch.unique(lists.users)
    order = users[torch.randperm(len(users), generator=torch.Generator().manual_seed(task.seed))]
    kept = order[: math.ceil(len(order) * task.recipe.held_out)]
    back = torch.isin(lists.users, kept)
    learned = lists.take(~back & lists.labels.flatten(1).any(1))
    known = len(learned) == 0  # so few lists that there is nothing to keep back
    ranker = fit(replace(task, lists=lists.worth() if known else learned))
    asked = lists if known else lists.take(back)
    found = logits(ranker, asked, task.items)
    half = torch.isin(asked.users, kept[::2])
    curves, heads = [], {}
    for place, name in enumerate(lists.heads):
        one, other = (_flat(asked, found, place, rows) for rows in (half, ~half))
        curves.append(platt(np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])))
        if not known and len(one[0]) and len(other[0]):
            heads[name] = _judged(one, other)
    of = f"lists of {len(kept):,} users that neither ranker nor curve learned from, {asked.codes.shape[1]:,} items each"
    return Calibration(tuple(curves), {"heads": heads, "of": of})


def platt(values: Flat, happened: Flags) -> Curve:
    """The likeliest curve, its targets drawn in a little from 0 and 1 (Platt 1999, section 2.2).

    Args:
        values: logits (n,). happened: (n,).
    """
    count, total = int(happened.sum()), len(happened)
    target = np.where(happened, (count + 1) / (count + 2), 1 / (total - count + 2))
    rate = float(target.mean())
    centre, spread = float(values.mean()), float(values.std()) + 1e-9
    unit = (values - centre) / spread

    def loss(place: Flat) -> tuple[float, Flat]:
        slope = math.exp(place[0])
        score = slope * unit + place[1]
        residual = special.expit(score) - target
        gradient = np.array([slope * (residual * unit).mean(), residual.mean()])
        return float((np.logaddexp(0, score) - target * score).mean()) / rate, gradient / rate

    start = np.array([0.0, special.logit(rate)])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=(LOG_SLOPES, (None, None)))
    slope = math.exp(found.x[0]) / spread
    return Curve(slope, float(found.x[1]) - slope * centre)


def _flat(lists: Lists, found: Tensor, head: int, rows: Tensor) -> tuple[Flat, Flags]:
    real = lists.codes[rows] >= 0
    return found[rows][..., head][real].double().numpy(), lists.labels[rows][..., head][real].numpy()


def _judged(one: tuple[Flat, Flags], other: tuple[Flat, Flags]) -> dict[str, float]:
    probabilities = np.concatenate([platt(*one)(other[0]), platt(*other)(one[0])])
    happened = np.concatenate([other[1], one[1]])
    return {
        "ece": expected_calibration_error(probabilities, happened),
        "examples": len(happened),
        "rate": float(happened.mean()),
    }
