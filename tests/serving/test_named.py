from __future__ import annotations

import numpy as np
import pytest

from tastemaker import scenes
from tastemaker.bundle import Bundle
from tastemaker.candidates import NAMED, Named, shares_of
from tastemaker.config import Funnel, Settings
from tastemaker.errors import Unavailable
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.heads import HeadWeights
from tastemaker_serving import models, pipeline
from tastemaker_serving.named import named_by
from tastemaker_serving.pipeline import Chosen, Requests, StageClock, Steps, ToRank
from tastemaker_serving.stages.rank import Ranked
from tastemaker_serving.wire import Query

from .conftest import NOW, trail_of

FUNNEL = Funnel(candidates=100, ranked=40)
INDEX = KeyIndex.of([f"item-{code}" for code in range(300)])
SCENES = scenes.load(Settings())
SHARES = {"search": shares_of(SCENES["search"].sources)}


def query(*candidates: str, scene: str = "search", exclude: list[str] | None = None) -> Query:
    scores = [1.0 / place for place in range(1, len(candidates) + 1)]
    return Query("r", "u", scene, None, 10, exclude or [], candidates=list(candidates), candidate_scores=scores)


def test_named_items_keep_their_scores_when_unknown_and_excluded_ones_go() -> None:
    queries = [query(scene="home"), query("item-9", "nothing", "item-4", "item-7", exclude=["item-4"])]
    named = named_by(queries, INDEX, SCENES)
    assert named is not None
    assert named.asked.tolist() == [False, True]
    assert named.codes.tolist() == [[-1, -1, -1, -1], [9, 7, -1, -1]]
    assert named.scores[1].tolist() == [1.0, 0.25, 0.0, 0.0]
    assert named.personal.tolist() == [0.0, SCENES["search"].personal]


def test_without_named_items_there_is_nothing_to_do() -> None:
    assert named_by([query(scene="home")], INDEX, SCENES) is None


@pytest.fixture(scope="module")
def steps(model_bundle: Bundle) -> Steps:
    retrieval = models.load_retrieval(model_bundle, FUNNEL.candidates)
    return pipeline.local_steps(retrieval, models.load_ranker(model_bundle, HeadWeights()), FUNNEL, SHARES)


async def chosen_by(
    personal: models.Personal, steps: Steps, *rows: list[int] | None, seen: int = 5, weight: float = 0.5
) -> Chosen:
    """Slates of users who saw item `seen`; a row of codes is what one names, with falling scores."""
    users = len(rows)
    codes = np.full((users, max(len(row or []) for row in rows) or 1), -1, dtype=np.int32)
    for at, row in enumerate(rows):
        codes[at, : len(row or [])] = row or []
    scores = np.tile(np.arange(codes.shape[1], 0, -1, dtype=np.float32), (users, 1))
    asked = np.array([row is not None for row in rows])
    named = Named(asked, codes, scores, np.full(users, weight, np.float32)) if asked.any() else None
    profiles = np.zeros((users, profile_width(20)), dtype=np.float32)
    nothing = np.empty((users, 0), dtype=np.int32)
    user_ids, trails = [f"u{row}" for row in range(users)], [trail_of(seen)] * users
    requests = Requests(user_ids, trails, profiles, nothing, NOW, [10] * users, ["search"] * users, named=named)
    return await pipeline.recommend(requests, personal, steps, FUNNEL, SCENES, StageClock())


@pytest.mark.parametrize("others", [1, 5])  # alone by index, in a larger batch by a product with all items
async def test_only_named_items_come_even_those_seen_and_other_requests_are_as_ever(
    personal: models.Personal, steps: Steps, others: int
) -> None:
    plain = await chosen_by(personal, steps, *[None] * (others + 1))
    mixed = await chosen_by(personal, steps, [8, 5, 30], *[None] * others)
    assert sorted(mixed.codes[0].tolist()) == [-1] * 7 + [5, 8, 30]
    assert set(mixed.source[0, :3].tolist()) == {NAMED}
    assert np.isfinite(mixed.scores[0, :3]).all()
    assert mixed.codes[1:].tolist() == plain.codes[1:].tolist()


async def test_a_request_whose_named_items_are_all_unknown_gets_none(personal: models.Personal, steps: Steps) -> None:
    chosen = await chosen_by(personal, steps, [], [3])
    assert (chosen.codes[0] == -1).all()
    assert chosen.codes[1, 0] == 3


async def test_the_weight_goes_from_the_callers_order_to_the_rankers(personal: models.Personal, steps: Steps) -> None:
    items = [40, 8, 30, 99, 120]
    by_caller = await chosen_by(personal, steps, items, weight=0.0)
    by_ranker = await chosen_by(personal, steps, items, weight=1.0)
    assert by_caller.codes[0, :5].tolist() == items
    assert by_ranker.scores[0, :5].tolist() == sorted(by_ranker.scores[0, :5].tolist(), reverse=True)
    assert by_ranker.codes[0, :5].tolist() != items


async def test_without_the_ranker_named_items_are_answered_all_the_same(
    personal: models.Personal, steps: Steps
) -> None:
    async def fail(asked: ToRank) -> Ranked:
        raise Unavailable("the ranker is away")

    chosen = await chosen_by(personal, Steps(steps.generate, fail), [40, 8, 30], weight=0.0)
    assert chosen.codes[0, :3].tolist() == [40, 8, 30]
    assert chosen.served_from == ["candidates"]
