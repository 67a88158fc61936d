from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from tastemaker.bundle import Bundle
from tastemaker.candidates import EXPLORE, ITEM_TO_ITEM, POPULAR, SESSION, TWO_TOWER, Candidates
from tastemaker.config import Sources
from tastemaker.decisions.drops import EXCLUDED, RETRIEVAL, RULES
from tastemaker.errors import Unavailable
from tastemaker.exploration import exploring
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.heads import HeadWeights
from tastemaker.preferences import Preferences
from tastemaker.retrieval import Wanted, sources
from tastemaker.scenes import Explore, Scene, Scenes
from tastemaker_serving import models, pipeline
from tastemaker_serving.live import Live
from tastemaker_serving.pipeline import Requests, StageClock, Steps, ToRank
from tastemaker_serving.stages import rules
from tastemaker_serving.stages.generate import generate
from tastemaker_serving.stages.lives import everything
from tastemaker_serving.stages.rank import Ranked
from tastemaker_serving.stages.sources import Panel

from .conftest import FUNNEL, NOW, SCENES, trail_of

SHARES = {
    "home": {TWO_TOWER: 0.5, ITEM_TO_ITEM: 0.35, POPULAR: 0.1},
    "ruled": {TWO_TOWER: 0.5, ITEM_TO_ITEM: 0.35, POPULAR: 0.1},
    "charts": {POPULAR: 1.0},
    "session": {TWO_TOWER: 0.1, SESSION: 0.9},
}


def declared(name: str, **fields: Any) -> Scenes:
    """The packaged scenes, and the scene `name`, which differs from `home` in these fields."""
    home = SCENES["home"].model_dump(by_alias=True)
    return Scenes({**SCENES.by_name, name: Scene.model_validate(home | fields)})


def requests(
    *trails: trail.Trail, excluded: int = -1, n: int = 10, of: Sequence[str] = (), traced: bool = False
) -> Requests:
    users = [f"u{number}" for number in range(len(trails))]
    profiles = np.zeros((len(users), profile_width(20)), dtype=np.float32)
    refused = np.full((len(users), 1), excluded, dtype=np.int32)
    return Requests(users, trails, profiles, refused, NOW, [n] * len(users), of or ["home"] * len(users), traced=traced)


@pytest.fixture(scope="module")
def steps(model_bundle: Bundle) -> Steps:
    retrieval = models.load_retrieval(model_bundle, FUNNEL.candidates)
    return pipeline.local_steps(retrieval, models.load_ranker(model_bundle, HeadWeights()), FUNNEL, SHARES)


async def test_a_slate_has_new_items_only_and_every_stage_is_timed(personal: models.Personal, steps: Steps) -> None:
    clock = StageClock()
    asked = requests(trail_of(1, 2, 3), trail_of(), trail_of(*range(250)), trail_of(9))

    chosen = await pipeline.recommend(asked, personal, steps, FUNNEL, SCENES, clock)

    assert chosen.served_from == ["ranked"] * 4
    assert chosen.degraded == []
    assert chosen.codes.shape == (4, 10)
    for codes, seen in zip(chosen.codes.tolist(), ({1, 2, 3}, set(), set(range(250)), {9}), strict=True):
        assert len(set(codes) - {-1}) == 10
        assert not seen & set(codes)
    assert set(clock.stage_ms) == {"user_tower", "candidates", "ranking", "reranking", "reasons"}


async def test_an_excluded_item_does_not_come(personal: models.Personal, steps: Steps) -> None:
    clock = StageClock()
    before = await pipeline.recommend(requests(trail_of(1)), personal, steps, FUNNEL, SCENES, clock)
    first = int(before.codes[0, 0])

    after = await pipeline.recommend(requests(trail_of(1), excluded=first), personal, steps, FUNNEL, SCENES, clock)

    assert first not in after.codes[0]


async def test_a_trace_has_every_candidate_once_and_changes_nothing(personal: models.Personal, steps: Steps) -> None:
    trails = trail_of(1, 2, 3), trail_of(7), trail_of()
    first = await pipeline.recommend(requests(*trails), personal, steps, FUNNEL, SCENES, StageClock())
    excluded = int(first.codes[1, 0])
    plain, traced = [
        await pipeline.recommend(
            requests(*trails, excluded=excluded, traced=wanted), personal, steps, FUNNEL, SCENES, StageClock()
        )
        for wanted in (False, True)
    ]
    assert plain.codes.tolist() == traced.codes.tolist()
    assert (plain.traced is None, plain.scores.tolist()) == (True, traced.scores.tolist())
    assert traced.traced is not None
    assert traced.traced.ranked.places.shape == (3, 100)
    dropped = {drop.stage: drop.codes for drop in traced.traced.dropped}
    assert (dropped[EXCLUDED] == excluded).any(axis=1).tolist() == [True, True, True]
    for row in range(3):
        candidates = set(traced.traced.candidates.codes[row].tolist())
        assert len(candidates) == 100
        assert not candidates & set(dropped[RETRIEVAL][row].tolist())
        assert set(traced.codes[row].tolist()) <= candidates


async def test_a_catalogue_that_was_all_seen_leaves_an_empty_slate(personal: models.Personal, steps: Steps) -> None:
    everything = requests(trail_of(*range(300)))

    chosen = await pipeline.recommend(everything, personal, steps, FUNNEL, SCENES, StageClock())

    assert (chosen.codes == -1).all()


async def test_without_the_ranker_the_slate_is_in_retrieval_order(personal: models.Personal, steps: Steps) -> None:
    pools: list[Candidates] = []

    async def remember(asked: Wanted) -> Candidates:
        pools.append(await steps.generate(asked))
        return pools[-1]

    async def fail(asked: ToRank) -> Ranked:
        raise Unavailable("the ranker is away")

    plain = declared("home", diversity={"weight": 0.0})
    chosen = await pipeline.recommend(
        requests(trail_of(1), trail_of(2)), personal, Steps(remember, fail), FUNNEL, plain, StageClock()
    )

    assert chosen.served_from == ["candidates"] * 2
    assert chosen.degraded == ["ranker"]
    assert chosen.codes.tolist() == pools[0].codes[:, :10].tolist()


async def test_a_batch_may_mix_scenes(personal: models.Personal, steps: Steps) -> None:
    trails = [trail_of(1), trail_of(1), trail_of(2, 3), trail_of(4)]
    alone = await pipeline.recommend(requests(*trails), personal, steps, FUNNEL, SCENES, StageClock())

    mixed = requests(*trails, of=["home", "charts", "home", "charts"])
    chosen = await pipeline.recommend(mixed, personal, steps, FUNNEL, SCENES, StageClock())

    assert set(chosen.source[[1, 3]].ravel()) == {POPULAR}
    assert chosen.codes[[0, 2]].tolist() == alone.codes[[0, 2]].tolist()
    assert chosen.source[[0, 2]].tolist() == alone.source[[0, 2]].tolist()


async def test_a_batch_may_mix_lengths(personal: models.Personal, steps: Steps) -> None:
    """An item that is pinned beyond a slate is in it where it ranks, however long another slate of the batch is."""
    free = await pipeline.recommend(requests(trail_of(1), n=30), personal, steps, FUNNEL, SCENES, StageClock())
    best, later = int(free.codes[0, 0]), int(free.codes[0, 20])
    rules = [{"name": "far down", "action": "pin", "position": 15, "items": [f"item-{best}", f"item-{later}"]}]
    scenes = declared("ruled", rules=rules)

    async def slates(*lengths: int) -> list[list[int]]:
        asked = requests(*[trail_of(1)] * len(lengths), of=["ruled"] * len(lengths))
        asked = replace(asked, lengths=lengths)
        chosen = await pipeline.recommend(asked, personal, steps, FUNNEL, scenes, StageClock())
        return [[code for code in row if code >= 0] for row in chosen.codes.tolist()]

    short, long = await slates(10, 30)
    assert short == free.codes[0, :10].tolist()
    assert (long[15:17], len(long)) == ([best, later], 30)
    assert [short] == await slates(10)


async def test_sources_that_said_nothing_are_named(personal: models.Personal, steps: Steps) -> None:
    async def without_als(asked: Wanted) -> Candidates:
        return replace(await steps.generate(asked), silent=("als",))

    chosen = await pipeline.recommend(
        requests(trail_of(1)), personal, replace(steps, generate=without_als), FUNNEL, SCENES, StageClock()
    )

    assert chosen.served_from == ["ranked"]
    assert chosen.degraded == ["source:als"]


async def test_what_a_newcomer_likes_shapes_the_first_slate(
    personal: models.Personal, steps: Steps, model_bundle: Bundle
) -> None:
    category = personal.vocabulary[0]
    asked = requests(trail_of(), trail_of())
    known = replace(asked, said={0: Preferences((category,), ("item-7",))})

    chosen = await pipeline.recommend(known, personal, steps, FUNNEL, SCENES, StageClock())

    assert chosen.codes[0].tolist() != chosen.codes[1].tolist()
    assert 7 not in chosen.codes[0]
    assert personal.vocabulary[chosen.segment[0]] == category
    neighbours = {8, 9, 10, 11, 12}
    because = dict(zip(chosen.codes[0].tolist(), chosen.because[0].tolist(), strict=True))
    assert all(because[code] in (7, -1) for code in because)
    assert any(because[code] == 7 for code in because) or not neighbours & set(because)


async def test_an_anonymous_session_is_answered_from_its_own_events(personal: models.Personal, steps: Steps) -> None:
    visitor = replace(requests(trail.of_items(["item-3", "item-40"], NOW)), user_ids=[""], scenes=["session"])

    chosen = await pipeline.recommend(visitor, personal, steps, FUNNEL, SCENES, StageClock())

    assert {SESSION} <= set(chosen.source[0].tolist()) <= {SESSION, TWO_TOWER}
    assert not {3, 40} & set(chosen.codes[0].tolist())


async def test_each_request_has_the_rules_of_its_scene(personal: models.Personal, steps: Steps) -> None:
    trails = [trail_of(1), trail_of(2), trail_of(3), trail_of(4)]
    free = await pipeline.recommend(requests(*trails), personal, steps, FUNNEL, SCENES, StageClock())
    first = [int(code) for code in free.codes[:, 0]]
    ruled = declared(
        "ruled",
        rules=[
            {"name": "no more of these", "action": "ban", "items": [f"item-{code}" for code in first]},
            {"name": "the campaign", "action": "pin", "position": 2, "items": ["item-299"]},
        ],
    )

    mixed = requests(*trails, of=["home", "ruled", "home", "ruled"], traced=True)
    chosen = await pipeline.recommend(mixed, personal, steps, FUNNEL, ruled, StageClock())

    assert chosen.codes[[0, 2]].tolist() == free.codes[[0, 2]].tolist()
    assert not set(first) & set(chosen.codes[[1, 3]].ravel().tolist())
    assert chosen.codes[[1, 3], 2].tolist() == [299, 299]
    assert (chosen.source == rules.PINNED).sum(axis=1).tolist() == [0, 1, 0, 1]
    assert (chosen.codes >= 0).all(), "ranking made up for what was banned"
    assert chosen.traced is not None
    (banned,) = [drop for drop in chosen.traced.dropped if drop.stage == RULES]
    assert banned.why == "no more of these"
    assert (banned.codes[[0, 2]] == -1).all()
    assert set(banned.codes[[1, 3]].ravel().tolist()) - {-1} <= set(first)


async def test_a_catalogue_that_is_all_banned_leaves_the_pins(personal: models.Personal, steps: Steps) -> None:
    everything = [f"item-{code}" for code in range(300)]
    ban = {"name": "ban", "action": "ban", "items": everything[1:]}
    pin = {"name": "pin", "action": "pin", "items": everything}

    for rules_of, left in (([ban], []), ([ban, pin], [0])):
        own = declared("home", rules=rules_of)
        chosen = await pipeline.recommend(requests(trail_of(0)), personal, steps, FUNNEL, own, StageClock())
        assert [code for code in chosen.codes[0].tolist() if code >= 0] == left
        assert chosen.served_from == ["ranked"]


async def test_a_scene_may_do_without_the_ranker(personal: models.Personal, steps: Steps) -> None:
    asked: list[ToRank] = []

    async def remember(to_rank: ToRank) -> Ranked:
        asked.append(to_rank)
        return await steps.rank(to_rank)

    own = declared("charts", model="retrieval", diversity={"weight": 0.0})
    watched = replace(steps, rank=remember)
    both = requests(trail_of(1), trail_of(1), of=["home", "charts"])
    chosen = await pipeline.recommend(both, personal, watched, FUNNEL, own, StageClock())
    home = await pipeline.recommend(requests(trail_of(1)), personal, steps, FUNNEL, own, StageClock())

    assert chosen.served_from == ["ranked", "candidates"]
    assert chosen.degraded == []
    assert chosen.codes[0].tolist() == home.codes[0].tolist()
    assert chosen.codes[1].tolist() == asked[0].candidates.codes[1, :10].tolist()
    alone = requests(trail_of(1), trail_of(1), of=["charts", "charts"])
    found = await pipeline.recommend(alone, personal, watched, FUNNEL, own, StageClock())
    assert found.codes[1].tolist() == chosen.codes[1].tolist()
    assert len(asked) == 1, "the ranker was not asked for what it does not order"


async def test_what_was_shown_lately_gives_way(personal: models.Personal, steps: Steps) -> None:
    tired = declared("home", repetition={"discount": 1.0})
    asked = requests(trail_of(1), trail_of(2))
    before = await pipeline.recommend(asked, personal, steps, FUNNEL, tired, StageClock())
    shown = np.full((2, 2, 10), -1, dtype=np.int32)
    shown[0, 0] = before.codes[0]

    after = await pipeline.recommend(replace(asked, shown=shown), personal, steps, FUNNEL, tired, StageClock())

    assert len(set(after.codes[0].tolist()) & set(before.codes[0].tolist())) <= 2
    assert after.codes[1].tolist() == before.codes[1].tolist()


async def test_explored_items_get_their_places_and_the_slate_says_how_likely_that_was(
    personal: models.Personal, model_bundle: Bundle, redis_url: str
) -> None:
    retrieving, ranking = models.load_retrieval(model_bundle, FUNNEL.candidates), HeadWeights()
    here = pipeline.local_steps(retrieving, models.load_ranker(model_bundle, ranking), FUNNEL, SHARES)
    curious = Scenes({"home": Scene(sources={"two-tower": 1.0}, explore=Explore(share=0.25))})
    live = Live(redis_url, personal.item_ids, curious)
    async with Redis.from_url(redis_url) as redis:
        await live.read_counts(redis)
    panel = Panel(sources(retrieving) | live.sources, Sources(budget_ms=20_000), threads=1)

    async def explore_too(wanted: Wanted) -> Candidates:
        return await generate(panel.ask, wanted, [SHARES["home"]], FUNNEL.candidates, everything)

    asked = requests(trail_of(1, 2, 3), trail_of(4), n=8)
    tried = replace(asked, exploring=exploring([curious["home"]] * 2, [8, 8], ["r-1", "r-2"]))
    steps = replace(here, generate=explore_too)
    found, again = [await pipeline.recommend(tried, personal, steps, FUNNEL, curious, StageClock()) for _ in range(2)]

    assert found.codes.tolist() == again.codes.tolist()
    assert (np.count_nonzero(found.source == EXPLORE, axis=1) >= 2).all()  # more where the ranker liked one
    assert found.propensities is not None
    explored = found.source == EXPLORE
    assert ((found.propensities[explored] > 0) & (found.propensities[explored] < 0.5)).all()
    assert (found.propensities[~explored] == 1).all()
    assert all(len(set(codes)) == 8 for codes in found.codes.tolist())
