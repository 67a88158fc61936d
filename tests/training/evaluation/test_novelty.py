from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker_training.evaluation.metrics import Judgements, recall_per_user
from tastemaker_training.evaluation.novelty import novelty_per_user, self_information, serendipity_per_user
from tastemaker_training.interactions import Interactions


def past(users: list[list[int]], items: int) -> Interactions:
    codes = np.array([item for user in users for item in user])
    return Interactions(
        user_ids=[f"u{user}" for user in range(len(users))],
        item_ids=[f"i{item}" for item in range(items)],
        offsets=np.cumsum([0, *(len(user) for user in users)]),
        items=codes,
        preferences=np.ones(len(codes), dtype=np.float32),
        timestamps=np.arange(len(codes)),
    )


def test_self_information_counts_users_not_events() -> None:
    bits = self_information(past([[0, 0, 0, 1], [0], [0]], items=3))
    assert bits == pytest.approx([0.0, math.log2(4 / 2), math.log2(4 / 1)])


def test_novelty_is_the_mean_over_what_the_slate_holds() -> None:
    bits = np.array([0.0, 1.0, 2.0])
    slates = np.array([[0, 2, -1], [1, 2, -1], [-1, -1, -1]], dtype=np.int32)
    assert novelty_per_user(slates, bits) == pytest.approx([1.0, 1.5, 0.0])


def test_serendipity_by_hand() -> None:
    truth = Judgements(np.array([0, 1]), [np.array([1, 2, 3]), np.array([7])])
    slates = np.array([[1, 9, 3, -1], [7, 6, 8, 9]], dtype=np.int32)
    popular = np.array([[0, 1, 4, 5], [7, 0, 1, 4]], dtype=np.int32)
    assert serendipity_per_user(slates, truth, popular) == pytest.approx([1 / 4, 0.0]), "only 3 was not to be expected"


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_serendipity_is_at_most_what_recall_found_and_popularity_has_none(seed: int) -> None:
    random = np.random.default_rng(seed)
    slates, popular = (np.stack([random.permutation(30)[:5] for _ in range(4)]).astype(np.int32) for _ in range(2))
    truth = Judgements(np.arange(4), [np.unique(random.integers(0, 30, 6)) for _ in range(4)])
    found = serendipity_per_user(slates, truth, popular)
    relevant = np.array([len(items) for items in truth.relevant])
    assert (found <= recall_per_user(slates, truth) * relevant / 5 + 1e-12).all()
    assert serendipity_per_user(popular, truth, popular).max() == 0.0
