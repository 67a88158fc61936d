from __future__ import annotations

import numpy as np
import pytest

from tastemaker.features.cross import (
    CROSS_FEATURES,
    LASTING,
    RECENT,
    SIGNALS,
    Memory,
    cross_features,
    item_to_item,
    liking,
    taste,
)

NEIGHBOURS = np.array([[1, 2], [2, -1], [3, 0], [-1, -1]], dtype=np.int32)
WEIGHTS = np.array([[0.5, 0.25], [1.0, 0.0], [0.8, 0.4], [0.0, 0.0]], dtype=np.float32)
NOTHING = np.full((1, 1), -1, dtype=np.int32)
PLAIN = Memory(events=100, decay=0.0)


def codes(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def floats(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_liking_grows_with_preference_and_ignores_dislikes() -> None:
    np.testing.assert_allclose(liking(floats([-1, 0, 0.2, 0.6, 1])), [[0, 0, 0.2, 1, 1.2]], rtol=1e-6)


def test_item_to_item_sums_the_neighbours_of_the_history() -> None:
    scores = item_to_item(NEIGHBOURS, WEIGHTS, codes([-1, 0, 1]), floats([0, 0.6, 0.6]), NOTHING, PLAIN)
    # Both events have a liking of 1: item 2 is a neighbour of both.
    np.testing.assert_allclose(scores, np.array([[0, 0.5, 0.25 + 1.0, 0]]) / np.sqrt(1 + 2), rtol=1e-6)


def test_older_events_count_for_less() -> None:
    history, preference = codes([0, 1]), floats([0.6, 0.6])
    scores = item_to_item(NEIGHBOURS, WEIGHTS, history, preference, NOTHING, Memory(events=100, decay=1.0))
    np.testing.assert_allclose(scores, np.array([[0, 0.25, 0.125 + 1.0, 0]]) / np.sqrt(1 + 1.5), rtol=1e-6)


def test_events_beyond_the_memory_are_forgotten() -> None:
    scores = item_to_item(NEIGHBOURS, WEIGHTS, codes([0, 1]), floats([1, 1]), NOTHING, Memory(events=1, decay=0.0))
    assert np.flatnonzero(scores[0]).tolist() == [2]


def test_seen_items_and_dislikes_score_nothing() -> None:
    scores = item_to_item(NEIGHBOURS, WEIGHTS, codes([0, 2]), floats([1, -1]), codes([1]), PLAIN)
    assert np.flatnonzero(scores[0]).tolist() == [2]


def test_users_of_a_batch_do_not_mix() -> None:
    generator = np.random.default_rng(0)
    neighbours = generator.integers(-1, 30, (30, 6)).astype(np.int32)
    weights = generator.random((30, 6), dtype=np.float32)
    history = generator.integers(-1, 30, (5, 12)).astype(np.int32)
    preference = generator.uniform(-1, 1, (5, 12)).astype(np.float32)
    together = item_to_item(neighbours, weights, history, preference, history, LASTING)
    for row in range(5):
        one = slice(row, row + 1)
        alone = item_to_item(neighbours, weights, history[one], preference[one], history[one], LASTING)
        np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)


def test_an_empty_history_says_nothing() -> None:
    for memory in (LASTING, RECENT):
        assert not item_to_item(NEIGHBOURS, WEIGHTS, NOTHING, floats([0]), NOTHING, memory).any()


def signals_of(*scores: np.ndarray) -> np.ndarray:
    return np.stack([*scores, *scores[:1] * (len(SIGNALS) - len(scores))])


def test_scores_are_standardised_over_the_real_candidates() -> None:
    real = np.array([[True, True, True, False]])
    signals = signals_of(floats([3, 1, 2, 99]))
    features = cross_features(signals, real)
    np.testing.assert_allclose(features[0, :3, 0], np.array([1, -1, 0]) * np.sqrt(1.5), rtol=1e-4)
    without = cross_features(signals[:, :, :3], real[:, :3])
    np.testing.assert_allclose(features[:, :3], without, rtol=1e-5)


def test_the_log_says_how_far_from_the_worst() -> None:
    place = CROSS_FEATURES.index("log_two_tower")
    features = cross_features(signals_of(floats([3, 1, 2, -9])), np.array([[True, True, True, False]]))
    np.testing.assert_allclose(features[0, :3, place], np.log([21, 1, 11]), rtol=1e-5)


def test_the_ranker_sees_no_scale_of_retrieval() -> None:
    generator = np.random.default_rng(1)
    signals = generator.random((len(SIGNALS), 2, 20), dtype=np.float32)
    real = np.ones((2, 20), dtype=bool)
    scaled = cross_features(10 * signals + 5, real)
    np.testing.assert_allclose(scaled, cross_features(signals, real), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [0, 1])
def test_short_lists_have_finite_features(width: int) -> None:
    for real in (np.ones((2, width), dtype=bool), np.zeros((2, width), dtype=bool)):
        features = cross_features(np.zeros((len(SIGNALS), 2, width), dtype=np.float32), real)
        assert features.shape == (2, width, len(CROSS_FEATURES))
        assert np.isfinite(features).all()


def test_taste_sums_what_was_liked_by_recency() -> None:
    reads = np.eye(3, dtype=np.float32)
    memory = Memory(events=2, decay=1.0)
    found = taste(reads, codes([0, 1, 2], [-1, -1, 1]), floats([1, 0.6, -1], [0, 0, 0.6]), memory)
    np.testing.assert_allclose(found, np.array([[0, 0.5, 0], [0, 1, 0]]), rtol=1e-6)
    assert not taste(reads, codes([-1]), floats([0]), memory).any()
