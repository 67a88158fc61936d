from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates, Codes, Floats
from tastemaker.errors import InvalidInput
from tastemaker.features.cross import SIGNALS
from tastemaker.features.profile import profile_width
from tastemaker.heads import HeadWeights
from tastemaker_serving import models
from tastemaker_serving.stages.rank import CHUNK, Ranked, best, log_odds, rank, retrieval_order


def candidates(codes: Codes) -> Candidates:
    signals: Floats = np.random.default_rng(0).random((len(SIGNALS), *codes.shape), dtype=np.float32)
    return Candidates(codes, np.zeros(codes.shape, dtype=np.uint8), signals)


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
    model = models.load_ranker(model_bundle, HeadWeights())
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
        mine = Candidates(codes[one], pool.source[one], pool.signals[:, one])
        alone = rank(model, vectors[one], profiles[one], mine, keep=10)
        assert alone.places.tolist() == together.places[one].tolist()


def test_no_candidates_no_ranking(model_bundle: Bundle) -> None:
    nothing = candidates(np.empty((2, 0), dtype=np.int32))
    profiles = np.zeros((2, profile_width(20)), dtype=np.float32)

    found = rank(
        models.load_ranker(model_bundle, HeadWeights()), np.zeros((2, 16), dtype=np.float32), profiles, nothing, keep=5
    )

    assert found.places.shape == (2, 0)


def test_retrieval_order_marks_padding() -> None:
    found = retrieval_order(candidates(np.array([[7, 3, 5], [4, -1, -1]], dtype=np.int32)), keep=2)

    assert found.places.tolist() == [[0, 1], [0, -1]]
    assert np.isneginf(found.scores[1, 1])


def test_scores_are_the_heads_probabilities_by_their_weights(model_bundle: Bundle) -> None:
    random = np.random.default_rng(2)
    pool = candidates(np.arange(40, dtype=np.int32)[None])
    vectors, profiles = random.normal(size=(1, 16)).astype(np.float32), np.zeros((1, profile_width(20)), np.float32)

    def scores(**weights: float) -> Floats:
        none = {"like": 0.0, "completion": 0.0, "click": 0.0}
        model = models.load_ranker(model_bundle, HeadWeights(**none | weights))
        found = rank(model, vectors, profiles, pool, keep=40)
        return found.scores[:, np.argsort(found.places[0])]

    like, click = scores(like=1), scores(click=2)
    assert ((like > 0) & (like < 1)).all()
    np.testing.assert_allclose(scores(like=3, click=1), 0.75 * like + 0.25 * click, rtol=1e-5)


def test_without_any_weight_there_is_no_score(model_bundle: Bundle) -> None:
    with pytest.raises(InvalidInput, match="gives weight to no head of the bundle, which has like, completion, click"):
        models.load_ranker(model_bundle, HeadWeights(like=0, completion=0, click=0))


def test_re_ranking_compares_log_odds() -> None:
    ranked = Ranked(np.array([[3, 0, 1, -1]], np.int32), np.array([[0.9, 0.5, 0.1, -np.inf]], np.float32))

    np.testing.assert_allclose(log_odds(ranked), [[np.log(9), 0, -np.log(9), -np.inf]], rtol=1e-5, atol=1e-6)
