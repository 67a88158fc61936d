from __future__ import annotations

import numpy as np
import pytest

from tastemaker_training.sources.demographics import prior_strength, segment_lists

ITEMS = 20


def likes(random: np.random.Generator, tastes: dict[str, list[int]], each: int) -> tuple[np.ndarray, list[str | None]]:
    """So many likes of each segment, nine in ten of its own items."""
    items, segments = [], list[str | None]()
    for name, own in tastes.items():
        is_own = random.random(each) < 0.9
        items.append(np.where(is_own, random.choice(own, each), random.integers(0, ITEMS, each)))
        segments += [name] * each
    return np.concatenate(items), segments


def test_a_segment_that_differs_and_has_likes_enough_goes_its_own_way() -> None:
    items, segments = likes(np.random.default_rng(0), {"DE": [0, 1, 2], "FR": [10, 11, 12]}, 400)
    lists = segment_lists(items, segments, ITEMS, 3)
    assert {name: set(codes) for name, codes in lists.items()} == {"DE": {0, 1, 2}, "FR": {10, 11, 12}}


def test_a_segment_of_few_likes_is_everybody() -> None:
    items, segments = likes(np.random.default_rng(0), {"DE": [0, 1, 2]}, 1000)
    items, segments = np.append(items, [7]), [*segments, "LI"]
    lists = segment_lists(items, segments, ITEMS, 3)
    assert list(lists) == ["DE", "LI"], "the largest first"
    assert set(lists["LI"]) == {0, 1, 2}


def test_the_prior_is_as_strong_as_segments_are_alike() -> None:
    random = np.random.default_rng(0)
    expected = np.full(500, 20.0)
    for strength in (2.0, 20.0):
        counts = random.poisson(expected * random.gamma(strength, 1 / strength, 500))
        assert prior_strength(counts, expected) == pytest.approx(strength, rel=0.25)
    assert prior_strength(random.poisson(expected), expected) > 200


def test_users_of_no_known_segment_count_only_with_everybody() -> None:
    assert segment_lists(np.array([1, 1, 2]), [None, None, None], 3, 2) == {}
    assert segment_lists(np.empty(0, np.int64), [], 3, 2) == {}
