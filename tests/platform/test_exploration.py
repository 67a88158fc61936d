from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from redis.asyncio import Redis

from tastemaker import exploration
from tastemaker.exploration import DRAWN, MOST, Counts, Pool, exploring, pool_of, propensity
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.scenes import Explore, Scene

ITEMS = 30
INDEX = KeyIndex.of([f"i{code}" for code in range(ITEMS)])
RULE = Explore(share=0.1, shown=100, uncertainty=0.3)
HOME = Scene(sources={"two-tower": 1.0})
NEWS = Scene(sources={"two-tower": 1.0}, explore=RULE)


def counts(**by_item: tuple[int, int]) -> Counts:
    """Impressions and clicks by item; those that are not named were shown 10 times and never clicked."""
    shown, clicked = np.full(ITEMS, 10.0), np.zeros(ITEMS)
    for name, (impressions, clicks) in by_item.items():
        shown[int(name[1:])], clicked[int(name[1:])] = impressions, clicks
    return Counts(shown, clicked)


def first(pool: Pool, seeds: range = range(400)) -> Counter[int]:
    return Counter(int(pool.codes[pool.draw(seed, 1)[0]]) for seed in seeds)


def test_an_item_that_was_shown_often_or_is_known_well_is_explored_no_more() -> None:
    found = pool_of(counts(i3=(100, 2), i4=(99, 2), i5=(60, 40)), RULE, seed=0)

    assert 3 not in found.codes
    assert 4 in found.codes
    assert 5 not in found.codes  # 40 clicks of 60: known to within a tenth
    assert len(found.codes) == ITEMS - 2


def test_what_was_clicked_is_tried_more_often_and_nothing_is_given_up_at_once() -> None:
    tried = first(pool_of(counts(i7=(10, 4), i8=(90, 0)), RULE, seed=0))

    assert tried.most_common(1)[0][0] == 7
    assert tried[8] < tried[7] / 10
    assert len(tried) > ITEMS / 2


def test_the_same_request_draws_the_same() -> None:
    pool = pool_of(counts(), RULE, seed=0)
    assert pool.draw(5, 4).tolist() == pool.draw(5, 4).tolist()
    assert any(pool.draw(seed, 4).tolist() != pool.draw(5, 4).tolist() for seed in range(10))


@pytest.mark.parametrize("expected", [1.0, 2.0, 0.5, 1.5])
def test_propensities_are_the_shares_in_which_items_are_drawn(expected: float) -> None:
    pool = pool_of(counts(i7=(10, 4), i9=(10, 1)), RULE, seed=0)
    drawn = Counter[int]()
    for seed in range(4_000):
        chance = np.random.default_rng(seed)
        slots = int(expected) + int(chance.random() < expected % 1)
        drawn.update(pool.draw(seed + 10_000, slots).tolist())

    estimated = propensity(pool, np.arange(len(pool.codes)), expected)

    seen = np.array([drawn[place] / 4_000 for place in range(len(pool.codes))])
    np.testing.assert_allclose(estimated, seen, atol=0.04)
    assert estimated.sum() == pytest.approx(expected, abs=0.02)


def test_an_empty_pool_draws_nothing() -> None:
    pool = pool_of(Counts(np.full(ITEMS, 200.0), np.zeros(ITEMS)), RULE, seed=0)
    assert len(pool.draw(3, DRAWN)) == 0


def test_slates_are_explored_by_the_share_of_their_scene() -> None:
    asked = exploring([NEWS, HOME, NEWS], [20, 20, 5], ["a", "b", "a"])
    assert asked is not None
    assert asked.expected.tolist() == [2, 0, 0.5]
    assert asked.seeds[0] == asked.seeds[2] != asked.seeds[1]
    assert exploring([HOME], [20], ["a"]) is None
    everything = Scene(sources={"two-tower": 1.0}, explore=Explore(share=1.0))
    most = exploring([everything], [100], ["a"])
    assert most is not None
    assert most.expected.tolist() == [MOST]


async def test_counts_add_up_online_and_no_item_has_more_clicks_than_impressions(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        for shown, clicked in (({"i1": 3, "gone": 9}, {"i1": 1}), ({"i1": 2, "i2": 1}, {"i2": 5})):
            pipe = redis.pipeline(transaction=False)
            exploration.record(pipe, shown, clicked)
            await pipe.execute()
        found = await exploration.read(redis, INDEX)

    assert (found.shown[[1, 2]].tolist(), found.shown.sum()) == ([5, 1], 6)
    assert found.clicked[[1, 2]].tolist() == [1, 1]


async def test_without_counts_every_item_is_as_good_as_another(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        found = await exploration.read(redis, INDEX)
    assert len(pool_of(found, RULE, seed=0).codes) == ITEMS
