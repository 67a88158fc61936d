from __future__ import annotations

import numpy as np
import pytest

from tastemaker.bundle import Bundle
from tastemaker.candidates import ITEM_TO_ITEM, POPULAR, TWO_TOWER, Codes
from tastemaker_serving import models
from tastemaker_serving.stages import sources
from tastemaker_serving.stages.sources import DENSE_BATCH, Wanted

LIMIT = 50
NOTHING = np.empty((DENSE_BATCH, 0), dtype=np.int32)


@pytest.fixture(scope="module")
def model(model_bundle: Bundle) -> models.Retrieval:
    return models.load_retrieval(model_bundle, LIMIT)


def wanted(history: list[int], seen: Codes = NOTHING) -> Wanted:
    """The same request of `DENSE_BATCH` users."""
    vectors = np.random.default_rng(0).normal(size=(DENSE_BATCH, 16)).astype(np.float32)
    codes = np.tile(np.array(history, dtype=np.int32), (DENSE_BATCH, 1))
    preference = np.ones(codes.shape, dtype=np.float32)
    return Wanted(vectors, codes, preference, np.full(DENSE_BATCH, -1, dtype=np.int32), seen, NOTHING)


def test_the_index_and_the_matrix_product_find_the_same(model: models.Retrieval) -> None:
    users = wanted([0]).user_vectors
    products = sources.inner_products(model, users)
    assert products is not None

    exact = sources.two_tower(model, users, products, k=40)
    indexed = sources.two_tower(model, users, None, k=40)

    for row in range(DENSE_BATCH):
        assert len(set(exact[row]) & set(indexed[row])) >= 39  # the index holds half precision


def test_every_source_has_its_share_and_no_item_comes_twice(model: models.Retrieval) -> None:
    asked = wanted([10, 200])

    found = sources.propose(model, asked, sources.signals(model, asked), LIMIT)

    for codes, source in zip(found.codes, found.source, strict=True):
        real = codes[codes >= 0].tolist()
        assert len(set(real)) == len(real)
        assert {TWO_TOWER, ITEM_TO_ITEM, POPULAR} == set(source[codes >= 0].tolist())


def test_there_are_enough_proposals_after_all_that_was_seen_is_gone(model: models.Retrieval) -> None:
    seen = np.tile(np.arange(0, 200, dtype=np.int32), (DENSE_BATCH, 1))
    asked = wanted([10], seen)

    found = sources.propose(model, asked, sources.signals(model, asked), LIMIT)

    assert all(len(set(codes[codes >= 200].tolist())) >= LIMIT for codes in found.codes)


def test_signals_of_a_candidate_do_not_depend_on_who_proposed_it(model: models.Retrieval) -> None:
    asked = wanted([10, 200])
    signals = sources.signals(model, asked)
    proposals = sources.propose(model, asked, signals, LIMIT)

    known = sources.with_signals(model, asked.user_vectors, proposals, signals)
    indexed = sources.Signals(signals.item_to_item, signals.recent, None)
    gathered = sources.with_signals(model, asked.user_vectors, proposals, indexed)

    real = known.codes >= 0
    np.testing.assert_allclose(known.two_tower[real], gathered.two_tower[real], rtol=1e-4, atol=1e-5)
    vectors = model.vectors.numpy()
    expected = np.einsum("bd,bcd->bc", asked.user_vectors, vectors[known.codes])
    np.testing.assert_allclose(known.two_tower[real], expected[real], rtol=1e-4, atol=1e-5)


def test_an_unknown_segment_is_offered_what_everybody_likes(model: models.Retrieval) -> None:
    segments = np.array([-1, 0], dtype=np.int32)

    assert sources.popular(model, segments)[0].tolist() == model.popular[-1].tolist()
    assert sources.popular(model, segments)[1].tolist() == model.popular[0].tolist()
