from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.candidates import EXPLORE, TWO_TOWER, Candidates, Explored
from tastemaker.exploration import Exploring
from tastemaker.features.cross import SIGNALS
from tastemaker_serving.stages.explore import propensities, reserve
from tastemaker_serving.stages.rank import Ranked

CANDIDATES, RANKED = 30, 12


def candidates(explorers: int) -> Candidates:
    """Items 100 … in order; the last `explorers` of them were drawn, and one that the user may not have."""
    codes = np.arange(100, 100 + CANDIDATES, dtype=np.int32)[None]
    source = np.full(codes.shape, TWO_TOWER, dtype=np.uint8)
    drawn = np.array([[7, *codes[0, CANDIDATES - explorers :], -1]], dtype=np.int32)
    explored = Explored(drawn, np.full(drawn.shape, 0.1, dtype=np.float32))
    return Candidates(codes, source, np.zeros((len(SIGNALS), *codes.shape), dtype=np.float32), explored=explored)


def ranked(*places: int) -> tuple[Ranked, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    scores = np.linspace(1, 0.1, len(places), dtype=np.float32)[None]
    return Ranked(np.array([places], dtype=np.int32), scores), scores * 10


def exploring(expected: float, length: int, seed: int = 3) -> Exploring:
    return Exploring(np.array([expected]), np.array([length]), np.array([seed], dtype=np.uint64))


@given(
    explorers=st.integers(0, 6),
    expected=st.floats(0, 5),
    length=st.integers(1, RANKED),
    seed=st.integers(0, 2**64 - 1),
    real=st.integers(0, RANKED),
)
def test_nothing_is_lost_but_what_gives_way_and_nothing_doubled(
    explorers: int, expected: float, length: int, seed: int, real: int
) -> None:
    before, worth = ranked(*range(real), *[-1] * (RANKED - real))
    pool = candidates(explorers)

    after, relevance, told = reserve(before, worth, pool, exploring(expected, length, seed))

    places = [place for place in after.places[0].tolist() if place >= 0]
    assert len(set(places)) == len(places)
    tried = [place for place in places if place >= CANDIDATES - explorers]
    rest = [place for place in places if place < CANDIDATES - explorers]
    assert rest == list(range(len(rest)))
    assert len(tried) <= min(explorers, int(expected) + 1)
    assert len(places) == min(real + len(tried), RANKED)
    assert real == 0 or places[0] == 0  # the best stays the best
    assert all(place in places[:length] for place in tried)
    assert set(np.flatnonzero(told.source[0] == EXPLORE).tolist()) == set(tried)
    assert after.places.shape == after.scores.shape == relevance.shape == before.places.shape
    assert np.all(np.diff(relevance[0, : len(places)]) <= 0)


def test_as_many_places_are_explored_as_the_scene_says() -> None:
    before, worth = ranked(*range(RANKED))
    counts = []
    for seed in range(400):
        after, _, _ = reserve(before, worth, candidates(6), exploring(1.25, 10, seed))
        counts.append(np.count_nonzero(after.places[0] >= CANDIDATES - 6))
    assert set(counts) == {1, 2}
    assert abs(np.mean(counts) - 1.25) < 0.08


def test_the_same_request_explores_the_same_places() -> None:
    before, worth = ranked(*range(RANKED))
    once, again = (reserve(before, worth, candidates(6), exploring(2, 10)) for _ in range(2))
    assert once[0].places.tolist() == again[0].places.tolist()


def test_what_is_among_the_best_anyway_keeps_its_place() -> None:
    before, worth = ranked(0, 29, *range(1, 11))
    after, _, told = reserve(before, worth, candidates(1), exploring(1, 10))
    assert after.places.tolist() == before.places.tolist()
    assert set(told.source[0].tolist()) == {TWO_TOWER}


def test_where_nothing_was_drawn_chance_had_no_part() -> None:
    codes = np.array([[100, 101, 102, 103]], dtype=np.int32)
    nothing = Explored(np.full((1, 3), -1, dtype=np.int32), np.zeros((1, 3), dtype=np.float32))
    for explored in (None, nothing):
        assert propensities(codes, np.zeros((1, 4), np.uint8), explored, exploring(1.25, 4)).tolist() == [[1] * 4]


def test_propensities_are_those_of_what_was_drawn_and_of_what_would_have_given_way() -> None:
    codes = np.array([[100, 129, 101, 102]], dtype=np.int32)
    source = np.array([[TWO_TOWER, EXPLORE, TWO_TOWER, TWO_TOWER]], dtype=np.uint8)
    explored = Explored(np.array([[128, 129, -1]], dtype=np.int32), np.array([[0.5, 0.25, 0]], dtype=np.float32))

    shown = propensities(codes, source, explored, exploring(1.25, 4))

    assert shown.tolist() == [[1, 0.25, 1, 0.75]]
    assert propensities(codes, source, explored, exploring(0, 4)).tolist() == [[1, 1, 1, 1]]
