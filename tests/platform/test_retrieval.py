from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastemaker import retrieval
from tastemaker.candidates import ALS, CONTENT, ITEM_TO_ITEM, POPULAR, SESSION, TWO_TOWER, Candidates, Codes, Shares
from tastemaker.errors import Unavailable
from tastemaker.features.cross import SIGNALS
from tastemaker.features.fold_in import ItemFactors
from tastemaker.popular import PopularTable
from tastemaker.retrieval import Heard, Retrieval, Wanted
from tastemaker.space import DENSE_BATCH, Search, Space, search

ITEMS, LIMIT = 300, 50
NOTHING = np.empty((DENSE_BATCH, 0), dtype=np.int32)
RANDOM = np.random.default_rng(0)
HOME: Shares = {TWO_TOWER: 0.35, ITEM_TO_ITEM: 0.35, ALS: 0.15, CONTENT: 0.05, POPULAR: 0.1}


def space() -> Space:
    return Space.of(RANDOM.normal(size=(ITEMS, 16)).astype(np.float32))


@pytest.fixture(scope="module")
def model() -> Retrieval:
    als = space()
    factors = ItemFactors(als.vectors.numpy(), np.eye(16, dtype=np.float32), 10.0, 0.6)
    near = (np.arange(ITEMS)[:, None] + np.arange(1, 21)) % ITEMS
    weights = np.tile(np.linspace(1, 0.1, 20, dtype=np.float32), (ITEMS, 1))
    popular = np.stack([RANDOM.permutation(ITEMS)[:LIMIT] for _ in range(3)]).astype(np.int32)
    return Retrieval(space(), factors, als, space(), near.astype(np.int32), weights, PopularTable(popular, {}))


def wanted(history: list[int], seen: Codes = NOTHING, session: int = 0) -> Wanted:
    """The same request of `DENSE_BATCH` users, the newest `session` events of this session."""
    vectors = np.random.default_rng(0).normal(size=(DENSE_BATCH, 16)).astype(np.float32)
    codes = np.tile(np.array(history, dtype=np.int32), (DENSE_BATCH, 1))
    preference = np.ones(codes.shape, dtype=np.float32)
    segment, scene = np.full(DENSE_BATCH, -1, dtype=np.int32), np.zeros(DENSE_BATCH, dtype=np.int32)
    return Wanted(vectors, codes, preference, segment, seen, NOTHING, np.full(DENSE_BATCH, session), scene)


def heard(model: Retrieval, asked: Wanted, *shares: Shares) -> dict[int, Heard]:
    return retrieval.ask(retrieval.sources(model), asked, retrieval.lengths(shares, asked, LIMIT))


def indexed(search: Search) -> Search:
    return replace(search, products=None)


def test_the_index_and_the_matrix_product_find_the_same(model: Retrieval) -> None:
    seen = np.tile(np.arange(0, 100, 2, dtype=np.int32), (DENSE_BATCH, 1))
    exact = search(model.two_tower, wanted([0]).user_vectors, seen)
    assert exact.products is not None
    for product, scan in zip(exact.nearest(40), indexed(exact).nearest(40), strict=True):
        assert len(set(product) & set(scan)) >= 39  # the index holds half precision
        assert not set(scan) & set(range(0, 100, 2))


def test_rows_behind_the_index_are_found_and_rows_that_are_gone_are_not(model: Retrieval) -> None:
    more = np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32)
    gone = np.array([*range(0, ITEMS, 2), ITEMS + 3], dtype=np.int32)
    grown = model.two_tower.grown(np.concatenate([model.two_tower.vectors.numpy(), more]), gone)
    exact = search(grown, wanted([0]).user_vectors, NOTHING)
    left = set(range(ITEMS + 20)) - set(gone.tolist())
    for k in (40, ITEMS + 20):
        for found in (exact.nearest(k), indexed(exact).nearest(k)):
            codes = set(found[0, : min(k, len(left))].tolist())
            assert len(codes) == min(k, len(left))
            assert codes <= left
    assert set(exact.nearest(40)[0].tolist()) == set(indexed(exact).nearest(40)[0].tolist())
    assert model.two_tower.grown(grown.vectors.numpy(), NOTHING[0]).there is None


def test_rows_that_are_others_now_are_found_as_they_are(model: Retrieval) -> None:
    vectors = model.content.vectors.numpy().copy()
    space = Space.of(vectors)
    queries = 9 * np.eye(16, dtype=np.float32)[:1]
    vectors[3] = queries[0]
    vectors[search(space, queries, NOTHING[:1]).nearest(1)[0, 0]] = -queries[0]
    space.rewrite(np.arange(ITEMS, dtype=np.int32), vectors)
    alone, among_others = search(space, queries, NOTHING[:1]), search(space, queries.repeat(DENSE_BATCH, 0), NOTHING)
    assert alone.products is None
    assert alone.nearest(1).tolist() == among_others.nearest(1)[:1].tolist() == [[3]]


def test_every_source_has_its_share_and_no_item_comes_twice(model: Retrieval) -> None:
    asked = wanted([10, 200])
    found = retrieval.propose(heard(model, asked, HOME), [HOME], asked, LIMIT)
    for codes, source in zip(found.codes, found.source, strict=True):
        real = codes[codes >= 0].tolist()
        assert len(set(real)) == len(real)
        assert {TWO_TOWER, ITEM_TO_ITEM, POPULAR} <= set(source[codes >= 0].tolist()) <= set(HOME)


def test_there_are_enough_proposals_after_all_that_was_seen_is_gone(model: Retrieval) -> None:
    seen = np.tile(np.arange(0, 200, dtype=np.int32), (DENSE_BATCH, 1))
    asked = wanted([10], seen)
    found = retrieval.propose(heard(model, asked, HOME), [HOME], asked, LIMIT)
    assert all(len(set(codes[codes >= 200].tolist())) >= LIMIT for codes in found.codes)


def test_signals_of_a_candidate_do_not_depend_on_who_proposed_it(model: Retrieval) -> None:
    asked = wanted([10, 200])
    said = heard(model, asked, HOME)
    proposals = retrieval.propose(said, [HOME], asked, LIMIT)
    known = retrieval.candidates(said, proposals)
    scanned = {
        source: replace(
            one,
            opinions={
                name: indexed(opinion) if isinstance(opinion, Search) else opinion
                for name, opinion in one.opinions.items()
            },
        )
        for source, one in said.items()
    }
    gathered = retrieval.candidates(scanned, proposals)
    assert known.signals.shape == (len(SIGNALS), *known.codes.shape)
    np.testing.assert_allclose(known.signals, gathered.signals, rtol=1e-4, atol=1e-4)
    vectors = model.two_tower.vectors.numpy()
    expected = np.einsum("bd,bcd->bc", asked.user_vectors, vectors[known.codes])
    real = known.codes >= 0
    np.testing.assert_allclose(known.signals[0][real], expected[real], rtol=1e-4, atol=1e-5)


def test_padding_says_nothing(model: Retrieval) -> None:
    asked = wanted([10], np.full((DENSE_BATCH, 1), ITEMS - 1, dtype=np.int32))
    said = heard(model, asked, HOME)
    proposals = retrieval.propose(said, [HOME], asked, LIMIT)
    padded = replace(proposals, codes=np.where(proposals.codes % 2, proposals.codes, -1))
    assert not retrieval.candidates(said, padded).signals[:, padded.codes < 0].any()


def test_a_source_that_is_switched_off_proposes_nothing_and_still_speaks(model: Retrieval) -> None:
    asked, charts = wanted([10, 200]), {POPULAR: 1.0}
    said = heard(model, asked, charts)
    found = retrieval.candidates(said, retrieval.propose(said, [charts], asked, LIMIT))
    assert set(found.source[found.codes >= 0].tolist()) == {POPULAR}
    assert SESSION not in said
    assert all(found.signals[SIGNALS.index(name)].any() for name in ("two_tower", "als", "content"))


def test_a_source_that_was_dropped_says_nothing_and_the_search_has_its_places(model: Retrieval) -> None:
    asked = wanted([10, 200])
    said = heard(model, asked, HOME)
    del said[ALS]
    found = retrieval.candidates(said, retrieval.propose(said, [HOME], asked, LIMIT), silent=["als"])
    assert found.silent == ("als",)
    assert not found.signals[SIGNALS.index("als")].any()
    assert np.count_nonzero(found.source[0] == TWO_TOWER) >= LIMIT * (0.35 + 0.15)


def test_without_any_source_there_is_no_answer(model: Retrieval) -> None:
    asked = wanted([10])
    with pytest.raises(Unavailable, match="als"):
        retrieval.candidates({}, retrieval.propose({}, [HOME], asked, LIMIT), silent=["two-tower", "als"])


def test_mixed_scenes_get_what_each_would_get_alone(model: Retrieval) -> None:
    charts: Shares = {POPULAR: 0.5, TWO_TOWER: 0.5}
    asked = replace(wanted([10, 200]), scene=np.array([0, 1, 1, 0], dtype=np.int32))

    def found(shares: list[Shares], scene: list[int]) -> Candidates:
        mine = replace(asked, scene=np.array(scene, dtype=np.int32))
        said = heard(model, mine, *shares)
        return retrieval.candidates(said, retrieval.propose(said, shares, mine, LIMIT))

    mixed, home, chart = found([HOME, charts], [0, 1, 1, 0]), found([HOME], [0] * 4), found([charts], [0] * 4)
    for row, alone in enumerate((home, chart, chart, home)):
        real = alone.codes[row] >= 0
        width = np.count_nonzero(real)
        assert mixed.codes[row, :width].tolist() == alone.codes[row, real].tolist()
        assert mixed.source[row, :width].tolist() == alone.source[row, real].tolist()
        assert (mixed.codes[row, width:] == -1).all()


def test_the_session_source_speaks_of_this_session_alone(model: Retrieval) -> None:
    asked = wanted([200, 10], session=1)
    proposed = retrieval.session(model, asked, 10).proposed[0].tolist()
    assert proposed[::2] == [11, 12, 13, 14, 15]  # what follows 10
    near = Search(model.two_tower, model.two_tower.vectors.numpy()[[10]], NOTHING[:1], None).nearest(5)[0].tolist()
    assert proposed[1::2] == near


def test_whoever_has_no_session_hears_nothing_of_one(model: Retrieval) -> None:
    assert retrieval.session(model, wanted([10]), 10).proposed.size == 0
    mixed = replace(wanted([10]), session=np.array([0, 1, 0, 0], dtype=np.int32))
    proposed = retrieval.session(model, mixed, 10).proposed
    assert (proposed[[0, 2, 3]] == -1).all()
    assert (proposed[1] >= 0).all()
