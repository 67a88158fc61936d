from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastemaker import retrieval
from tastemaker.candidates import ITEM_TO_ITEM, POPULAR, SOURCES, TWO_TOWER, Codes
from tastemaker.features.cross import SIGNALS
from tastemaker.features.fold_in import ItemFactors
from tastemaker.retrieval import DENSE_BATCH, Retrieval, Search, Space, Wanted

ITEMS, LIMIT = 300, 50
NOTHING = np.empty((DENSE_BATCH, 0), dtype=np.int32)
RANDOM = np.random.default_rng(0)


def space() -> Space:
    return Space.of(RANDOM.normal(size=(ITEMS, 16)).astype(np.float32))


@pytest.fixture(scope="module")
def model() -> Retrieval:
    als = space()
    factors = ItemFactors(als.vectors.numpy(), np.eye(16, dtype=np.float32), 10.0, 0.6)
    near = (np.arange(ITEMS)[:, None] + np.arange(1, 21)) % ITEMS
    weights = np.tile(np.linspace(1, 0.1, 20, dtype=np.float32), (ITEMS, 1))
    popular = np.stack([RANDOM.permutation(ITEMS)[:LIMIT] for _ in range(3)]).astype(np.int32)
    return Retrieval(space(), factors, als, space(), near.astype(np.int32), weights, popular)


def wanted(history: list[int], seen: Codes = NOTHING) -> Wanted:
    """The same request of `DENSE_BATCH` users."""
    vectors = np.random.default_rng(0).normal(size=(DENSE_BATCH, 16)).astype(np.float32)
    codes = np.tile(np.array(history, dtype=np.int32), (DENSE_BATCH, 1))
    preference = np.ones(codes.shape, dtype=np.float32)
    return Wanted(vectors, codes, preference, np.full(DENSE_BATCH, -1, dtype=np.int32), seen, NOTHING)


def indexed(search: Search) -> Search:
    return replace(search, products=None)


def test_the_index_and_the_matrix_product_find_the_same(model: Retrieval) -> None:
    seen = np.tile(np.arange(0, 100, 2, dtype=np.int32), (DENSE_BATCH, 1))
    exact = retrieval.search(model.two_tower, wanted([0]).user_vectors, seen)
    assert exact.products is not None
    for product, scan in zip(exact.nearest(40), indexed(exact).nearest(40), strict=True):
        assert len(set(product) & set(scan)) >= 39  # the index holds half precision
        assert not set(scan) & set(range(0, 100, 2))


def test_every_source_has_its_share_and_no_item_comes_twice(model: Retrieval) -> None:
    asked = wanted([10, 200])
    found = retrieval.propose(model, asked, retrieval.signals(model, asked), LIMIT)
    for codes, source in zip(found.codes, found.source, strict=True):
        real = codes[codes >= 0].tolist()
        assert len(set(real)) == len(real)
        assert {TWO_TOWER, ITEM_TO_ITEM, POPULAR} <= set(source[codes >= 0].tolist()) <= set(range(len(SOURCES)))


def test_there_are_enough_proposals_after_all_that_was_seen_is_gone(model: Retrieval) -> None:
    seen = np.tile(np.arange(0, 200, dtype=np.int32), (DENSE_BATCH, 1))
    asked = wanted([10], seen)
    found = retrieval.propose(model, asked, retrieval.signals(model, asked), LIMIT)
    assert all(len(set(codes[codes >= 200].tolist())) >= LIMIT for codes in found.codes)


def test_signals_of_a_candidate_do_not_depend_on_who_proposed_it(model: Retrieval) -> None:
    asked = wanted([10, 200])
    signals = retrieval.signals(model, asked)
    proposals = retrieval.propose(model, asked, signals, LIMIT)
    known = retrieval.candidates(signals, proposals)
    scanned = replace(
        signals, two_tower=indexed(signals.two_tower), als=indexed(signals.als), content=indexed(signals.content)
    )
    gathered = retrieval.candidates(scanned, proposals)
    assert known.signals.shape == (len(SIGNALS), *known.codes.shape)
    np.testing.assert_allclose(known.signals, gathered.signals, rtol=1e-4, atol=1e-4)
    vectors = model.two_tower.vectors.numpy()
    expected = np.einsum("bd,bcd->bc", asked.user_vectors, vectors[known.codes])
    real = known.codes >= 0
    np.testing.assert_allclose(known.signals[0][real], expected[real], rtol=1e-4, atol=1e-5)


def test_padding_says_nothing(model: Retrieval) -> None:
    asked = wanted([10], np.full((DENSE_BATCH, 1), ITEMS - 1, dtype=np.int32))
    signals = retrieval.signals(model, asked)
    proposals = retrieval.propose(model, asked, signals, LIMIT)
    padded = replace(proposals, codes=np.where(proposals.codes % 2, proposals.codes, -1))
    assert not retrieval.candidates(signals, padded).signals[:, padded.codes < 0].any()


def test_an_unknown_segment_is_offered_what_everybody_likes(model: Retrieval) -> None:
    segments = np.array([-1, 0], dtype=np.int32)
    assert retrieval.popular(model, segments)[0].tolist() == model.popular[-1].tolist()
    assert retrieval.popular(model, segments)[1].tolist() == model.popular[0].tolist()
