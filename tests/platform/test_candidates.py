from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import dictionaries, integers

from tastemaker.candidates import (
    ALS,
    ITEM_TO_ITEM,
    POPULAR,
    SOURCES,
    TWO_TOWER,
    Codes,
    Proposals,
    among,
    by_turns,
    largest,
    most_voted,
    places,
    shares_of,
    strongest_category,
    together,
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


def test_sources_take_turns_in_proportion_to_what_they_propose() -> None:
    search, near, popular = list(range(12)), list(range(20, 26)), [30, 31]
    united = unite(codes(search), {ITEM_TO_ITEM: codes(near), POPULAR: codes(popular)}, 20)
    half = set(by_turns(united, 10)[0].tolist())
    assert half == {*search[:6], *near[:3], *popular[:1]}, "half of each list, its best"
    assert set(by_turns(united, 20)[0].tolist()) == {*search, *near, *popular}
    short = Proposals(codes([7, 8, -1], [9, -1, -1]), np.zeros((2, 3), dtype=np.uint8))
    assert by_turns(short, 3).tolist() == [[7, 8, -1], [9, -1, -1]]


def test_an_item_proposed_twice_belongs_to_the_first() -> None:
    united = unite(codes([3, 1]), {ALS: codes([5, -1]), POPULAR: codes([5, 3])}, 20)
    assert united.codes.tolist() == [[3, 1, 5]]
    assert united.source.tolist() == [[TWO_TOWER, TWO_TOWER, ALS]]


def test_a_source_that_is_off_or_unnamed_has_no_places() -> None:
    shares = shares_of({"popular": 0.1, "two-tower": 0.5, "als": 0.0})
    assert list(shares.items()) == [(POPULAR, 0.1), (TWO_TOWER, 0.5)]
    assert [places(shares, source, 50) for source in (ITEM_TO_ITEM, ALS, POPULAR)] == [0, 0, 5]


def test_parts_of_a_batch_come_together_padded() -> None:
    first = Proposals(codes([4, 5, 6]), np.full((1, 3), POPULAR, dtype=np.uint8))
    second = Proposals(codes([7], [-1]), np.full((2, 1), ALS, dtype=np.uint8))
    whole = together([(np.array([1]), first), (np.array([0, 2]), second)])
    assert whole.codes.tolist() == [[7, -1, -1], [4, 5, 6], [-1, -1, -1]]
    assert whole.source[:, 0].tolist() == [ALS, POPULAR, ALS]


@given(
    nearest=arrays(np.int32, (2, 12), elements=integers(-1, 30)),
    others=dictionaries(integers(1, len(SOURCES) - 1), arrays(np.int32, (2, 4), elements=integers(-1, 30))),
    limit=integers(1, 20),
)
def test_nothing_that_a_source_proposes_is_lost_or_doubled(
    nearest: Codes, others: dict[int, Codes], limit: int
) -> None:
    united = unite(nearest, others, limit)
    for row in range(2):
        real = united.codes[row] >= 0
        found = united.codes[row][real].tolist()
        proposers = {TWO_TOWER: nearest[row].tolist()} | {
            source: codes[row].tolist() for source, codes in others.items()
        }
        assert len(set(found)) == len(found)
        assert set(found) == set().union(*map(set, proposers.values())) - {-1}
        for code, source in zip(found, united.source[row][real].tolist(), strict=True):
            assert code in proposers[source]
        assert not real[len(found) :].any()  # padding is at the end


def test_padding_moves_to_the_end() -> None:
    proposals = Proposals(codes([4, -1, 6], [7, 8, 9]), np.zeros((2, 3), dtype=np.uint8))
    assert proposals.select(proposals.codes != 8).select(proposals.codes >= 0).codes.tolist() == [
        [4, 6, -1],
        [7, 9, -1],
    ]


def test_among_knows_no_padding() -> None:
    assert among(codes([2, 5, -1]), codes([5, -1])).tolist() == [[False, True, False]]
    assert not among(codes([2, -1]), np.empty((1, 0), dtype=np.int32)).any()


def test_nobody_without_an_affinity_has_a_segment() -> None:
    affinity = np.array([[0, 0.5, 0.2], [0, 0, 0], [-1, -0.5, 0]], dtype=np.float32)
    assert strongest_category(affinity).tolist() == [1, -1, -1]
    assert strongest_category(affinity[:, :0]).tolist() == [-1, -1, -1]
