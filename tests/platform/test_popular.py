from __future__ import annotations

import numpy as np

from tastemaker.popular import Person, PopularTable

VOCABULARY = ["Comedy", "Drama"]
DOCUMENT = {
    "overall": [1, 2, 3],
    "segment": {"Drama": [9, 2]},
    "demographic": {"country": {"DE": [5], "FR": [6, 1]}, "device": {"tv": [7]}},
}
TABLE = PopularTable.of(DOCUMENT, VOCABULARY, 4)


def lists(segment: list[int], people: list[Person]) -> object:
    return TABLE.of_users(np.array(segment, dtype=np.int32), people).tolist()


def test_short_segments_go_on_with_what_everybody_likes() -> None:
    assert lists([0, 1, -1], []) == [[1, 2, 3, -1], [9, 2, 1, 3], [1, 2, 3, -1]]


def test_whoever_has_no_segment_gets_what_people_like_them_like() -> None:
    stranger, french, german = Person(), Person("FR", "tv"), Person("DE", "tv")
    assert lists([-1, -1, -1], [stranger, french, german]) == [[1, 2, 3, -1], [6, 1, 2, 3], [7, 1, 2, 3]]


def test_a_segment_says_more_than_a_profile() -> None:
    assert lists([1], [Person("FR")]) == [[9, 2, 1, 3]]


def test_a_bundle_without_demographic_lists_has_everybodys() -> None:
    table = PopularTable.of({"overall": [1], "segment": {}}, [], 2)
    assert table.of_users(np.array([-1], dtype=np.int32), [Person("FR", "tv")]).tolist() == [[1, -1]]
