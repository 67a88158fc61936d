from __future__ import annotations

import math

import numpy as np

from tastemaker.features.tower_inputs import KeyIndex, TowerInputs, session_lengths, tower_inputs, user_buckets
from tastemaker.features.trail import RECORD, Trail, decode
from tastemaker.ids import keys_of

NOW = 1_800_000_000
DAY = 86_400
CATALOGUE = ["a", "b", "c", "d"]


def trail_of(*events: tuple[str, int, float]) -> Trail:
    """Events (item, days ago, preference), oldest first."""
    records = np.zeros(len(events), RECORD)
    records["item"] = keys_of(item for item, _, _ in events)
    records["timestamp"] = [NOW - days * DAY for _, days, _ in events]
    records["preference"] = [preference for _, _, preference in events]
    return records


def inputs(*trails: Trail, length: int = 3) -> TowerInputs:
    users = [f"u{number}" for number in range(len(trails))]
    return tower_inputs(users, trails, KeyIndex.of(CATALOGUE), length=length, buckets=7, now=NOW)


def test_key_index_finds_codes_and_tells_strangers() -> None:
    index = KeyIndex.of(CATALOGUE)

    assert index.find(keys_of(["c", "?", "a"])).tolist() == [2, -1, 0]


def test_history_is_the_newest_known_events_aligned_right() -> None:
    long = trail_of(("a", 4, 0.1), ("b", 3, 0.2), ("gone", 2, 0.9), ("c", 1, -1.0), ("d", 0, 0.4))

    found = inputs(long, trail_of(("b", 2, 1.0)))

    assert found.history.tolist() == [[1, 2, 3], [-1, -1, 1]]
    np.testing.assert_allclose(found.preference, [[0.2, -1.0, 0.4], [0, 0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(found.age[0], [math.log1p(3), math.log1p(1), 0], rtol=1e-6)
    assert {code for code in found.seen[0].tolist() if code >= 0} == {0, 1, 2, 3}


def test_users_without_events_have_padding() -> None:
    found = inputs(decode(None), decode(None))

    assert found.history.tolist() == [[-1], [-1]]
    assert found.user.shape == (2, 2)


def test_an_event_from_a_clock_ahead_of_ours_is_new_not_negative() -> None:
    assert inputs(trail_of(("a", -5, 1.0))).age.tolist() == [[0.0]]


def test_buckets_are_stable_and_within_range() -> None:
    found = user_buckets([f"u{number}" for number in range(100)], 10)

    assert found.min() >= 0
    assert found.max() < 10
    assert np.array_equal(found[:5], user_buckets([f"u{number}" for number in range(5)], 10))


def test_a_session_is_what_goes_on_without_a_long_pause() -> None:
    minutes = np.array([[90, 40, 25, 3], [0, 90, 45, 40], [0, 0, 20, 10], [0, 0, 0, 0]], dtype=np.float32)
    history = np.array([[1, 2, 3, 4], [-1, 2, 3, 4], [-1, -1, 3, 4], [-1, -1, -1, -1]])
    assert session_lengths(history, np.log1p(minutes / 1440)).tolist() == [3, 0, 2, 0]


def test_an_index_grows_by_items_with_codes_of_their_own() -> None:
    index = KeyIndex.of(CATALOGUE).extended(["new", "newer"], len(CATALOGUE))
    assert index.find(keys_of(["newer", *CATALOGUE, "new", "unknown"])).tolist() == [
        len(CATALOGUE) + 1,
        *range(len(CATALOGUE)),
        len(CATALOGUE),
        -1,
    ]
    assert KeyIndex.of([]).find(keys_of(["a"])).tolist() == [-1]
    assert KeyIndex.of([]).extended(["a"], 0).find(keys_of(["a"])).tolist() == [0]
