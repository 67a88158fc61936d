from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.candidates import Named
from tastemaker_serving.stages.blend import blend
from tastemaker_serving.stages.rank import Ranked

USERS, ITEMS = 3, 6


@given(seed=st.integers(0, 1000), asked=st.tuples(*[st.booleans()] * USERS), padding=st.integers(0, ITEMS))
def test_nothing_is_lost_and_only_those_who_asked_are_reordered(
    seed: int, asked: tuple[bool, ...], padding: int
) -> None:
    random = np.random.default_rng(seed)
    scores = -np.sort(-random.normal(size=(USERS, ITEMS)).astype(np.float32), axis=1)
    places = np.stack([random.permutation(ITEMS) for _ in range(USERS)]).astype(np.int32)
    places[0, ITEMS - padding :], scores[0, ITEMS - padding :] = -1, -np.inf
    named = Named(
        np.array(asked),
        np.tile(np.arange(ITEMS, dtype=np.int32), (USERS, 1)),
        random.normal(size=(USERS, ITEMS)).astype(np.float32),
        np.array([0.0, 0.5, 1.0], np.float32),
    )
    ranked, relevance = blend(Ranked(places, scores), places, scores, named)
    for row in range(USERS):
        before = dict(zip(places[row].tolist(), scores[row].tolist(), strict=True))
        assert dict(zip(ranked.places[row].tolist(), ranked.scores[row].tolist(), strict=True)) == before
        assert (np.diff(relevance[row][np.isfinite(relevance[row])]) <= 0).all()
        assert ((ranked.places[row] < 0) == np.isneginf(relevance[row])).all()
        if not asked[row]:
            assert ranked.places[row].tolist() == places[row].tolist()
            assert relevance[row].tolist() == scores[row].tolist()
    if asked[2]:
        assert ranked.places[2].tolist() == places[2].tolist(), "all weight on the ranker"
    if asked[0]:
        real = ranked.places[0][ranked.places[0] >= 0]
        assert (np.diff(named.scores[0, real]) <= 0).all(), "all weight on the caller's scores"


def test_scales_do_not_matter() -> None:
    places = np.array([[0, 1, 2]], np.int32)
    scores = np.array([[3.0, 2.0, -5.0]], np.float32)
    orders = []
    for scale in (1.0, 1000.0):
        said = np.array([[0.0, 3.0, 1.0]], np.float32) * scale
        named = Named(np.array([True]), places, said, np.array([0.5], np.float32))
        orders.append(blend(Ranked(places, scores), places, scores, named)[0].places.tolist())
    assert orders[0] == orders[1] == [[1, 0, 2]]


def test_scores_belong_to_items_whatever_was_taken_out_of_the_list() -> None:
    named = Named(
        np.array([True]),
        np.array([[7, 8, 9]], np.int32),
        np.array([[0.0, 3.0, 1.0]], np.float32),
        np.zeros(1, np.float32),
    )
    left = np.array([[7, 9]], np.int32)  # a rule bans item 8
    scores = np.array([[2.0, 1.0]], np.float32)
    ranked, _ = blend(Ranked(np.array([[0, 1]], np.int32), scores), left, scores, named)
    assert ranked.places.tolist() == [[1, 0]]
