"""Users nobody knows, neighbours, indexes and features that fall short: a slate comes whole, or as long as can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastemaker.bundle import Bundle
from tastemaker.candidates import ALS, CONTENT, ITEM_TO_ITEM, POPULAR, SESSION, TWO_TOWER
from tastemaker.config import Funnel
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.heads import HeadWeights
from tastemaker.retrieval import Retrieval, Wanted, item_to_item
from tastemaker_serving import models, pipeline
from tastemaker_serving.pipeline import Chosen, Requests, StageClock

from .conftest import FUNNEL, NOW, SCENES, trail_of

ITEMS = 300
EVERY = {TWO_TOWER: 0.4, ITEM_TO_ITEM: 0.2, ALS: 0.1, CONTENT: 0.1, POPULAR: 0.1, SESSION: 0.1}


@pytest.fixture(scope="module")
def retrieval(model_bundle: Bundle) -> Retrieval:
    return models.load_retrieval(model_bundle, FUNNEL.candidates)


async def slate_of(
    model_bundle: Bundle, retrieval: Retrieval, seen: trail.Trail, n: int = 10, funnel: Funnel = FUNNEL
) -> Chosen:
    """One user's slate, from every source; no features of the user are known."""
    ranker = models.load_ranker(model_bundle, HeadWeights())
    steps = pipeline.local_steps(retrieval, ranker, funnel, {"home": EVERY})
    profiles = np.zeros((1, profile_width(20)), dtype=np.float32)
    refused = np.full((1, 1), -1, dtype=np.int32)
    asked = Requests(["somebody"], [seen], profiles, refused, NOW, [n], ["home"])
    return await pipeline.recommend(asked, models.load_personal(model_bundle), steps, funnel, SCENES, StageClock())


def items_in(chosen: Chosen) -> list[int]:
    """The items of the only slate; none is twice in it."""
    codes = [code for code in chosen.codes[0].tolist() if code >= 0]
    assert len(set(codes)) == len(codes)
    assert np.isfinite(chosen.scores[0, : len(codes)]).all()
    return codes


async def test_a_user_with_neither_events_nor_features_gets_a_ranked_slate(
    model_bundle: Bundle, retrieval: Retrieval
) -> None:
    chosen = await slate_of(model_bundle, retrieval, trail_of())

    assert len(items_in(chosen)) == 10
    assert (chosen.served_from, chosen.degraded) == (["ranked"], [])


def test_a_source_with_fewer_neighbours_than_asked_pads(retrieval: Retrieval) -> None:
    lonely = one_neighbour(retrieval)

    proposed = item_to_item(lonely, wanted(history=[5]), 50).proposed

    assert proposed.shape == (1, 50)
    assert proposed[0].tolist() == [6] + [-1] * 49


async def test_a_slate_is_whole_where_neighbours_are_few_or_none(model_bundle: Bundle, retrieval: Retrieval) -> None:
    few = one_neighbour(retrieval)
    none = replace(retrieval, neighbours=np.full_like(retrieval.neighbours, -1))

    for model in (few, none):
        assert len(items_in(await slate_of(model_bundle, model, trail_of(5)))) == 10


async def test_more_candidates_than_items_are_every_item_once(model_bundle: Bundle, retrieval: Retrieval) -> None:
    wide = Funnel(candidates=1000, ranked=1000, slate=100)

    chosen = await slate_of(model_bundle, retrieval, trail_of(1, 2, 3), n=ITEMS + 100, funnel=wide)

    assert sorted(items_in(chosen)) == [code for code in range(ITEMS) if code not in {1, 2, 3}]


@pytest.mark.parametrize("left", [0, 1, 4])
async def test_of_a_catalogue_that_is_nearly_all_seen_the_rest_comes(
    model_bundle: Bundle, retrieval: Retrieval, left: int
) -> None:
    chosen = await slate_of(model_bundle, retrieval, trail_of(*range(ITEMS - left)))

    assert sorted(items_in(chosen)) == list(range(ITEMS - left, ITEMS))


def one_neighbour(model: Retrieval) -> Retrieval:
    """Without all neighbours but one of each item."""
    neighbours, weights = np.full_like(model.neighbours, -1), np.zeros_like(model.neighbour_weights)
    neighbours[:, 0] = (np.arange(ITEMS) + 1) % ITEMS
    weights[:, 0] = 1.0
    return replace(model, neighbours=neighbours, neighbour_weights=weights)


def wanted(history: list[int]) -> Wanted:
    """What is asked for one user who liked these items."""
    codes = np.array([history], dtype=np.int32)
    none, nobody = np.full((1, 1), -1, dtype=np.int32), np.full(1, -1, dtype=np.int32)
    zero = np.zeros(1, dtype=np.int32)
    return Wanted(
        np.zeros((1, 16), np.float32), codes, np.ones(codes.shape, np.float32), nobody, codes, none, zero, zero
    )
