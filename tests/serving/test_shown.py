from __future__ import annotations

from tastemaker.features.tower_inputs import KeyIndex
from tastemaker_serving.shown import shown_by
from tastemaker_serving.wire import Query

INDEX = KeyIndex.of([f"i{code}" for code in range(5)])


def test_recent_slates_stand_side_by_side_whatever_their_number_and_length() -> None:
    queries = [
        Query("r", "u", "home", None, 10, shown=[["i3", "gone", "i1"], ["i4"]]),
        Query("r", "v", "home", None, 10),
        Query("r", "w", "home", None, 10, shown=[[]]),
    ]
    found = shown_by(queries, INDEX)
    assert found is not None
    assert found.tolist() == [[[3, -1, 1], [4, -1, -1]], [[-1] * 3] * 2, [[-1] * 3] * 2]


def test_without_any_there_is_nothing() -> None:
    assert shown_by([Query("r", "v", "home", None, 10)], INDEX) is None
    assert shown_by([], INDEX) is None
