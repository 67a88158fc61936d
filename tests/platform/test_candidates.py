from __future__ import annotations

import numpy as np

from tastemaker.candidates import (
    ALS,
    CONTENT,
    ITEM_TO_ITEM,
    POPULAR,
    TWO_TOWER,
    Proposals,
    among,
    largest,
    most_voted,
    places,
    popular_table,
    strongest_category,
    unite,
)


def codes(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def votes_for(items: int, **scores: float) -> np.ndarray:
    votes = np.zeros((1, items), dtype=np.float32)
    for name, score in scores.items():
        votes[0, int(name[1:])] = score
    return votes


def test_largest_are_in_order() -> None:
    scores = np.array([[1, 5, 3], [9, 7, 8]], dtype=np.float32)
    assert largest(scores, 2).tolist() == [[1, 2], [0, 2]]
    assert largest(scores, 9).shape == (2, 3)
    assert largest(scores, 0).shape == (2, 0)


def test_most_voted_has_only_items_with_votes() -> None:
    assert most_voted(votes_for(5, i3=1, i1=2), 4).tolist() == [[1, 3, -1, -1]]


def test_each_source_has_its_share_and_the_search_fills_up() -> None:
    nearest = codes(list(range(20)))
    others = {ITEM_TO_ITEM: codes(list(range(40, 47))), POPULAR: codes([0, 55])}
    united = unite(nearest, others, 20)
    # 20 places: 11 of the search, 7 item-to-item, 2 popular of which 0 is already there, then the rest of the search.
    assert united.codes[0, :11].tolist() == list(range(11))
    assert united.codes[0, 11:18].tolist() == list(range(40, 47))
    assert united.codes[0, 18:].tolist() == [55, *range(11, 20)]
    assert united.source[0, [0, 11, 18, 19]].tolist() == [TWO_TOWER, ITEM_TO_ITEM, POPULAR, TWO_TOWER]


def test_an_item_proposed_twice_belongs_to_the_first() -> None:
    united = unite(codes([3, 1]), {ALS: codes([5, -1]), POPULAR: codes([5, 3])}, 20)
    assert united.codes.tolist() == [[3, 1, 5]]
    assert united.source.tolist() == [[TWO_TOWER, TWO_TOWER, ALS]]


def test_the_search_has_the_most_places() -> None:
    others = [places(source, 100) for source in (ITEM_TO_ITEM, ALS, CONTENT, POPULAR)]
    assert max(others) <= 100 - sum(others)


def test_padding_moves_to_the_end() -> None:
    proposals = Proposals(codes([4, -1, 6], [7, 8, 9]), np.zeros((2, 3), dtype=np.uint8))
    assert proposals.select(proposals.codes != 8).select(proposals.codes >= 0).codes.tolist() == [
        [4, 6, -1],
        [7, 9, -1],
    ]


def test_among_knows_no_padding() -> None:
    assert among(codes([2, 5, -1]), codes([5, -1])).tolist() == [[False, True, False]]
    assert not among(codes([2, -1]), np.empty((1, 0), dtype=np.int32)).any()


def test_short_segments_go_on_with_what_everybody_likes() -> None:
    document = {"overall": [1, 2, 3], "segment": {"Drama": [9, 2]}}
    assert popular_table(document, ["Comedy", "Drama"], 4).tolist() == [[1, 2, 3, -1], [9, 2, 1, 3], [1, 2, 3, -1]]


def test_nobody_without_an_affinity_has_a_segment() -> None:
    affinity = np.array([[0, 0.5, 0.2], [0, 0, 0], [-1, -0.5, 0]], dtype=np.float32)
    assert strongest_category(affinity).tolist() == [1, -1, -1]
    assert strongest_category(affinity[:, :0]).tolist() == [-1, -1, -1]
