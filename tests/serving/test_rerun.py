from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from msgspec import structs
from typer.testing import CliRunner

from tastemaker import bundle as bundles
from tastemaker import config, scenes
from tastemaker.bundle import Bundle
from tastemaker.candidates import EXPLORE, TRENDING, Explored, shares_of
from tastemaker.config import Funnel, Serving, Settings
from tastemaker.decisions import archive
from tastemaker.decisions.record import Decision, Shown, Trace
from tastemaker.errors import NotFound
from tastemaker.exploration import exploring
from tastemaker.features import trail
from tastemaker.features.profile import profile_width
from tastemaker.ids import keys_of
from tastemaker.lake import Lake
from tastemaker.retrieval import Heard, Wanted
from tastemaker_serving import models, pipeline
from tastemaker_serving.pipeline import Requests, StageClock
from tastemaker_serving.rerun import Comparison, Rerun, by_scene, is_whole, rerun
from tastemaker_serving.rerun_cli import replay
from tastemaker_serving.stages.lives import Lives
from tastemaker_serving.tracing import trace_of
from tastemaker_serving.wire import Query
from tastemaker_training.bench import synthetic

NOW = 1_800_000_000
FUNNEL = Funnel(candidates=100, ranked=40, slate=10)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an installation that explores two places of ten."""
    own = tmp_path / "scenes.yaml"
    own.write_text("home: {explore: {share: 0.2}}")
    return Settings(home=tmp_path, serving=Serving(funnel=FUNNEL), scenes_file=own)


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of the same items, with other models."""
    path = tmp_path_factory.mktemp("other") / "bundle"
    synthetic.write(path, items=300, dim=16, seed=1)
    return bundles.read(path)


async def answered(bundle: Bundle, settings: Settings, requests: int = 12) -> list[Decision]:
    """Decisions as the Recommender logs them, of users with one event more each, half of them in the scene `news`."""
    model, declared = models.load_personal(bundle), scenes.load(settings)
    shares = {name: shares_of(scene.sources) for name, scene in declared.by_name.items()}
    retrieval = models.load_retrieval(bundle, FUNNEL.candidates)
    ranking = models.load_ranker(bundle, FUNNEL.head_weights)
    young = Lives.declared(declared).by(lambda: retrieval.published)
    by_luck = {TRENDING: by_chance, EXPLORE: by_chance}
    steps = pipeline.local_steps(retrieval, ranking, FUNNEL, shares, by_luck, young)
    chance = np.random.default_rng(7)
    decisions = []
    for number in range(requests):
        query = Query(
            f"r{number}", f"u{number}", ("home", "news")[number % 2], "tv", 10, [f"item-{number}"], traced=True
        )
        history = np.zeros(number, trail.RECORD)
        history["item"] = keys_of(f"item-{item}" for item in chance.integers(0, 300, number))
        history["timestamp"] = NOW - 60 * np.arange(number, 0, -1)
        history["preference"] = 1.0
        profile = chance.random((1, profile_width(len(model.vocabulary))), dtype=np.float32)
        asked = Requests(
            [query.user_id],
            [history],
            profile,
            model.index.find(keys_of(query.exclude))[None],
            NOW,
            [query.n],
            [query.scene],
            traced=True,
            exploring=exploring([declared[query.scene]], [query.n], [query.request_id]),
        )
        chosen = await pipeline.recommend(asked, model, steps, FUNNEL, declared, StageClock())
        decisions.append(decision_of(query, trace_of(chosen, asked, 0, query, model.item_ids, FUNNEL.ranked)))
    return decisions


def by_chance(wanted: Wanted, k: int) -> Heard:
    """What nobody proposes a second time."""
    codes = np.random.default_rng().choice(300, (1, k), replace=False).astype(np.int32)
    return Heard(codes, explored=Explored(codes, np.full(codes.shape, 0.1, dtype=np.float32)))


def decision_of(query: Query, traced: Trace) -> Decision:
    shown = [Shown(item_id, 0.5, "als", "") for item_id in traced.slate]
    return Decision(
        query.request_id, query.user_id, query.scene, NOW, query.n, query.device, query.exclude, "blue", "", {},
        "tastemaker/1", "ranked", [], {}, shown, trace=traced,
    )  # fmt: skip


async def test_the_same_bundle_gives_the_same_slates(model_bundle: Bundle, settings: Settings) -> None:
    decisions = await answered(model_bundle, settings)
    assert {"explore", "trending"} <= {source for one in decisions if one.trace for source in one.trace.live}
    again = await asyncio.to_thread(lambda: list(rerun(model_bundle, settings, decisions)))
    assert [list(one.after) for one in again] == [decision.trace.slate for decision in decisions if decision.trace]
    assert all(len(one.after) == 10 for one in again)
    assert {scene: told.same for scene, told in by_scene(again).items()} == {"home": 1.0, "news": 1.0}


async def test_another_bundle_gives_others(model_bundle: Bundle, other_bundle: Bundle, settings: Settings) -> None:
    decisions = await answered(model_bundle, settings)
    told = by_scene(await asyncio.to_thread(lambda: list(rerun(other_bundle, settings, decisions))))["home"]
    assert told.requests == 6
    assert told.overlap < 0.7
    assert told.same == 0


def test_overlap_and_moves() -> None:
    one = Rerun("r1", "home", ["a", "b", "c", "d"], ["b", "x", "c", "a"])
    assert one.overlap == 0.75
    assert (Rerun("r2", "news", [], []).overlap, Rerun("r3", "news", [], ["a"]).overlap) == (1.0, 0.0)
    assert one.moves == [3, 1, 0]
    told = Comparison.of([one, Rerun("r2", "home", ["a"], ["a"])])
    assert told == Comparison(2, overlap=0.875, same=0.5, first=0.5, moved=1.0)
    assert Comparison.of([Rerun("r3", "home", ["a"], ["b"])]).moved == 0


async def test_what_a_fault_had_touched_is_left_out(model_bundle: Bundle, settings: Settings) -> None:
    (whole,) = await answered(model_bundle, settings, requests=1)
    changes: list[dict[str, object]] = [
        {"degraded": ["source:als"]}, {"trace": None}, {"served_from": "candidates"}
    ]  # fmt: skip
    assert [is_whole(structs.replace(whole, **changed)) for changed in changes] == [False, False, True]


def test_replay_reports_by_scene(
    model_bundle: Bundle, other_bundle: Bundle, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "load", lambda: settings)
    app = typer.Typer()
    app.command()(replay)
    with pytest.raises(NotFound, match="no request of the last 7 days"):
        CliRunner().invoke(app, ["--bundle", str(model_bundle.path)], catch_exceptions=False)
    decisions = asyncio.run(answered(model_bundle, settings))
    archive.append(Lake(settings.lake), [*decisions, structs.replace(decisions[0], request_id="r99", degraded=["ray"])])

    same = json.loads(CliRunner().invoke(app, ["--bundle", str(model_bundle.path), "--json"]).stdout)
    assert (same["answered_by"], same["left_out"]) == ({"tastemaker/1": 12}, 1)
    assert same["scenes"]["news"] == {"requests": 6, "overlap": 1, "same": 1, "first": 1, "moved": 0}
    assert same["most_changed"] == []
    told = CliRunner().invoke(app, ["--bundle", str(other_bundle.path), "--scene", "home"], env={"COLUMNS": "160"})
    assert told.exit_code == 0, told.output
    assert "beside what was answered by tastemaker/1 (6)" in told.stdout
    assert "Most changed: r" in told.stdout
