from __future__ import annotations

import math

import numpy as np
import pytest

from tastemaker_training.evaluation.metrics import (
    Judgements,
    clicks_per_user,
    coverage,
    distance_per_user,
    judgements,
    most_popular,
    ndcg_per_user,
    recall_per_user,
)
from tastemaker_training.evaluation.yardstick import Yardstick
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
    found = distance_per_user(np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [1, -1, -1]]), categories)
    assert found[:3] == pytest.approx([0.0, 1.0, 2 / 3])
    assert np.isnan(found[3]), "one item is not apart from anything"


def test_items_without_categories_are_neither_near_nor_far() -> None:
    categories = np.array([[1, 0], [0, 1], [0, 0], [0, 0], [1, 0]], dtype=np.float32)
    found = distance_per_user(np.array([[0, 1, 2, 3], [0, 4, 2, 3], [0, 2, 3, -1], [2, 3, -1, -1]]), categories)
    assert found[:2] == pytest.approx([1.0, 0.0])
    assert np.isnan(found[2:]).all()


@pytest.mark.parametrize("categories", [np.zeros((4, 0)), np.zeros((4, 3)), np.ones((4, 1))])
def test_without_two_categories_there_is_no_distance(categories: np.ndarray) -> None:
    assert np.isnan(distance_per_user(np.array([[0, 1, 2, 3]]), categories.astype(np.float32))).all()


def test_only_liked_held_out_items_are_relevant() -> None:
    events = log_of([[(0, 1.0), (1, 1.0), (2, -0.5), (3, 0.9)], [(4, 1.0), (5, 1.0), (6, 0.1), (7, 0.2)]])
    truth = judgements(split_by_time(events, 0.5), liked=0.6)
    assert truth.users.tolist() == [0]
    assert [items.tolist() for items in truth.relevant] == [[3]]


def test_popularity_leaves_out_what_was_seen() -> None:
    events = log_of([[(0, 1.0), (1, 1.0)], [(0, 1.0), (2, 1.0)], [(0, 1.0), (2, 1.0)]])
    slates = most_popular(events, np.array([0, 1]), 2, liked=0.6)
    assert slates.tolist() == [[2, 3], [1, 3]]


def test_clicks_weigh_by_the_place_that_is_looked_at() -> None:
    looks = 1 + 1 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)
    found = clicks_per_user(SLATES, [np.array([9, 3, 3]), np.array([0])])
    assert found == pytest.approx([(1 / math.log2(3) + 1 / math.log2(4)) / looks, 0.0])
    assert clicks_per_user(SLATES[1:], [np.arange(10)]) == pytest.approx([1.0])


def test_a_yardstick_measures_every_metric_with_its_interval() -> None:
    events = log_of([[(0, 1.0), (4, 1.0), (1, 1.0), (2, 1.0)], [(0, 1.0), (5, 1.0), (7, 1.0), (6, 0.1)]])
    split = split_by_time(events, 0.5)
    truth = judgements(split, liked=0.6)
    popular = most_popular(split.past, truth.users, 2, liked=0.6)
    yardstick = Yardstick.of(split, truth, popular, np.eye(10, dtype=np.float32), seed=0)
    slates = np.array([[1, 9], [6, 4]], dtype=np.int32)
    found = yardstick.measure(slates)
    means = {"recall@2", "ndcg@2", "ctr_proxy", "intra_list_distance", "novelty", "serendipity"}
    assert set(found) == means | {f"{name}_ci" for name in means} | {"coverage"}
    assert found["recall@2"] == pytest.approx((1 / 2 + 0) / 2)
    first, second = 1.0, 1 / math.log2(3)
    assert found["ctr_proxy"] == pytest.approx(first / (first + second)), "6 was met, if not liked"
    assert found["intra_list_distance"] == pytest.approx(1.0)
    assert found["coverage"] == pytest.approx(4 / 10)
    assert yardstick.measure(popular)["serendipity"] == 0.0
    without = Yardstick.of(split, truth, popular, np.ones((10, 1), dtype=np.float32), seed=0).measure(slates)
    assert found.keys() - without.keys() == {"intra_list_distance", "intra_list_distance_ci"}
