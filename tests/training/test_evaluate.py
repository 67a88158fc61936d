from __future__ import annotations

import math

import numpy as np
import pytest

from tastemaker_training.evaluate import (
    Judgements,
    coverage,
    interval,
    intra_list_distance,
    judgements,
    measure,
    most_popular,
    ndcg_per_user,
    recall_per_user,
)
from tastemaker_training.interactions import Interactions, split_by_time

TRUTH = Judgements(np.array([0, 1]), [np.array([1, 2, 3]), np.array([7])])
SLATES = np.array([[1, 9, 3, -1], [5, 6, 8, 9]], dtype=np.int32)


def log_of(users: list[list[tuple[int, float]]]) -> Interactions:
    events = [event for user in users for event in user]
    return Interactions(
        user_ids=[f"u{user}" for user in range(len(users))],
        item_ids=[f"i{item}" for item in range(10)],
        offsets=np.cumsum([0, *(len(user) for user in users)]),
        items=np.array([item for item, _ in events]),
        preferences=np.array([preference for _, preference in events], dtype=np.float32),
        timestamps=np.arange(len(events)),
    )


def test_recall_is_the_share_of_what_is_relevant() -> None:
    assert recall_per_user(SLATES, TRUTH).tolist() == [2 / 3, 0.0]


def test_ndcg_by_hand() -> None:
    gained = 1 + 1 / math.log2(4)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_per_user(SLATES, TRUTH) == pytest.approx([gained / best, 0.0])


def test_a_perfect_slate_scores_one_even_when_fewer_are_relevant() -> None:
    perfect = np.array([[1, 2, 3, 9], [7, 0, 1, 2]], dtype=np.int32)
    assert ndcg_per_user(perfect, TRUTH) == pytest.approx([1.0, 1.0])


def test_coverage_counts_items_once_and_no_padding() -> None:
    assert coverage(SLATES, 10) == pytest.approx(6 / 10)


def test_distance_is_zero_among_equals_and_one_among_strangers() -> None:
    categories = np.array([[1, 0], [2, 0], [0, 1]], dtype=np.float32)
    assert intra_list_distance(np.array([[0, 1]]), categories) == pytest.approx(0.0)
    assert intra_list_distance(np.array([[0, 2]]), categories) == pytest.approx(1.0)


def test_the_interval_holds_the_mean_and_is_repeatable() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = interval(values, seed=1)
    assert low < values.mean() < high
    assert interval(values, seed=1) == [low, high]
    assert interval(np.zeros(5), seed=1) == [0.0, 0.0]


def test_only_liked_held_out_items_are_relevant() -> None:
    events = log_of([[(0, 1.0), (1, 1.0), (2, -0.5), (3, 0.9)], [(4, 1.0), (5, 1.0), (6, 0.1), (7, 0.2)]])
    truth = judgements(split_by_time(events, 0.5), liked=0.6)
    assert truth.users.tolist() == [0]
    assert [items.tolist() for items in truth.relevant] == [[3]]


def test_popularity_leaves_out_what_was_seen() -> None:
    events = log_of([[(0, 1.0), (1, 1.0)], [(0, 1.0), (2, 1.0)], [(0, 1.0), (2, 1.0)]])
    slates = most_popular(events, np.array([0, 1]), 2, liked=0.6)
    assert slates.tolist() == [[2, 3], [1, 3]]


def test_measure_reports_every_metric() -> None:
    found = measure(SLATES, TRUTH, np.eye(10, dtype=np.float32), seed=0)
    assert set(found) == {"recall@4", "ndcg@4", "recall@4_ci", "ndcg@4_ci", "coverage", "intra_list_distance"}
