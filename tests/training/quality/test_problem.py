from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tastemaker_training.evaluation.metrics import Judgements
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.quality.formats import leave_last_out
from tastemaker_training.quality.outcome import measured
from tastemaker_training.quality.problem import Problem, bare_catalogue, slates_of


@dataclass(frozen=True)
class Fixed:
    row: Floats

    def scores(self, known: Interactions, users: Ints) -> Floats:
        return np.tile(self.row, (len(users), 1))


KNOWN = Interactions(
    user_ids=["u", "v"],
    item_ids=["a", "b", "c", "d"],
    offsets=np.array([0, 1, 3]),
    items=np.array([3, 0, 1]),
    preferences=np.ones(3, dtype=np.float32),
    timestamps=np.zeros(3, dtype=np.int64),
)
SOURCE = Fixed(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32))


def test_items_of_the_history_do_not_compete() -> None:
    assert slates_of(SOURCE, KNOWN, np.array([0, 1]), 2).tolist() == [[2, 1], [3, 2]]


def test_metrics_are_per_user_of_the_test() -> None:
    truth = Judgements(np.array([1, 0]), [np.array([2]), np.array([0])])
    problem = Problem(KNOWN, KNOWN, bare_catalogue(KNOWN.item_ids), truth, 2, "hr", leave_last_out)
    found = problem.measure(SOURCE, lambda _: None)
    assert found["hr@2"].tolist() == [1.0, 0.0]
    assert found["ndcg@2"] == pytest.approx([1 / np.log2(3), 0.0])


def test_cost_counts_this_process() -> None:
    with measured() as cost:
        sum(range(100_000))
    assert cost.wall_s >= 0
    assert cost.peak_rss_mb > 1
