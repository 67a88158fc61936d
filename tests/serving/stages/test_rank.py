from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates, Codes, Floats
from tastemaker.features.profile import profile_width
from tastemaker_serving import models
from tastemaker_serving.stages.rank import CHUNK, best, rank, retrieval_order


def candidates(codes: Codes) -> Candidates:
    scores: Floats = np.random.default_rng(0).random(codes.shape, dtype=np.float32)
    return Candidates(codes, np.zeros(codes.shape, dtype=np.uint8), scores, scores[:, ::-1], scores[::-1])


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 15))
def test_best_are_the_largest_in_order(seed: int, width: int, keep: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, width)).astype(np.float32)
    scores[1, width // 2 :] = -np.inf

    found = best(scores, keep)

    for row in range(4):
        real = [place for place in np.argsort(-scores[row]) if np.isfinite(scores[row, place])][:keep]
        assert [place for place in found.places[row].tolist() if place >= 0] == real
        assert found.scores[row, : len(real)].tolist() == scores[row, real].tolist()


def test_a_user_has_the_same_ranking_alone_and_in_a_batch(model_bundle: Bundle) -> None:
    model = models.load_ranker(model_bundle)
    random = np.random.default_rng(1)
    users = CHUNK + 2
    codes: Codes = random.permuted(np.tile(np.arange(50, dtype=np.int32), (users, 1)), axis=1)
    codes[2, 30:] = -1
    pool = candidates(codes)
    vectors = random.normal(size=(users, 16)).astype(np.float32)
    profiles = random.random((users, profile_width(20)), dtype=np.float32)

    together = rank(model, vectors, profiles, pool, keep=10)

    assert together.places.shape == (users, 10)
    assert (together.places[2] < 30).all()
    for row in range(users):
        one = slice(row, row + 1)
        signals = (pool.two_tower[one], pool.item_to_item[one], pool.recent[one])
        mine = Candidates(codes[one], pool.source[one], *signals)
        alone = rank(model, vectors[one], profiles[one], mine, keep=10)
        assert alone.places.tolist() == together.places[one].tolist()


def test_no_candidates_no_ranking(model_bundle: Bundle) -> None:
    nothing = candidates(np.empty((2, 0), dtype=np.int32))
    profiles = np.zeros((2, profile_width(20)), dtype=np.float32)

    found = rank(models.load_ranker(model_bundle), np.zeros((2, 16), dtype=np.float32), profiles, nothing, keep=5)

    assert found.places.shape == (2, 0)


def test_retrieval_order_marks_padding() -> None:
    found = retrieval_order(candidates(np.array([[7, 3, 5], [4, -1, -1]], dtype=np.int32)), keep=2)

    assert found.places.tolist() == [[0, 1], [0, -1]]
    assert np.isneginf(found.scores[1, 1])
