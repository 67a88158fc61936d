"""All metrics of a model's slates on one test.

V users of the test, N items, n places, K categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker_training.evaluation import metrics, novelty
from tastemaker_training.evaluation.intervals import interval
from tastemaker_training.evaluation.metrics import Judgements
from tastemaker_training.evaluation.slates import Slates
from tastemaker_training.interactions import Floats, Split

Metrics = dict[str, float | list[float]]
"""By name; `NAME_ci` is the 95 % interval of NAME where it is a mean over users."""


@dataclass(frozen=True)
class Yardstick:
    """A test, and what its metrics need besides."""

    truth: Judgements
    interacted: Sequence[npt.NDArray[np.int64]]  # items of each user's held-out events, liked or not
    popular: Slates  # (V, n) what popularity shows
    information: npt.NDArray[np.float64]  # (N,) bits
    categories: Floats  # (N, K) membership
    seed: int  # of the intervals

    @classmethod
    def of(cls, split: Split, truth: Judgements, popular: Slates, categories: Floats, seed: int) -> Yardstick:
        """For the users of `truth`, held out in `split`."""
        interacted = [split.future.items[split.future.of(user)] for user in truth.users]
        return cls(truth, interacted, popular, novelty.self_information(split.past), categories, seed)

    def measure(self, slates: Slates) -> Metrics:
        """All metrics of one model's slates (V, n), -1 where a slate is short; what cannot be measured is left out."""
        n = slates.shape[1]
        distances = metrics.distance_per_user(slates, self.categories)
        per_user = {
            f"recall@{n}": metrics.recall_per_user(slates, self.truth),
            f"ndcg@{n}": metrics.ndcg_per_user(slates, self.truth),
            "ctr_proxy": metrics.clicks_per_user(slates, self.interacted),
            "intra_list_distance": distances[~np.isnan(distances)],
            "novelty": novelty.novelty_per_user(slates, self.information),
            "serendipity": novelty.serendipity_per_user(slates, self.truth, self.popular),
        }
        found: Metrics = {"coverage": metrics.coverage(slates, len(self.categories))}
        for name, values in per_user.items():
            if len(values) == 0:  # no slate has two items whose categories tell them apart
                continue
            found[name] = float(values.mean())
            found[f"{name}_ci"] = interval(values, self.seed)
        return found
