"""What the Recommender itself answered, run again. It answers in a process of its own, without a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tastemaker.bundle import Bundle
from tastemaker.config import Settings
from tastemaker.decisions.explanation import explain
from tastemaker.decisions.record import Decision
from tastemaker.types import Slate
from tastemaker_serving import wire
from tastemaker_serving.bench import seed_users
from tastemaker_serving.edge.decisions import decision_of
from tastemaker_serving.rerun import Comparison, is_whole, rerun

SCENES = ("home", "news", "digest", "trending")
ANSWER = """
import sys
from pathlib import Path
from ray import serve
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed
from tastemaker.config import Deployment, Deployments, Serving, Settings, Sources
from tastemaker_serving import wire
from tastemaker_serving.application import build_app

home, bundle, redis_url, questions, answers = sys.argv[1:]
patient = Deployment(timeout_ms=60_000)  # a busy machine shall not make a stage late
deployments = Deployments(recommender=patient, candidate_generator=patient, ranker=patient)
serving = Serving(deployments=deployments, sources=Sources(budget_ms=60_000))
settings = Settings(home=home, redis_url=redis_url, serving=serving, scenes_file=Path(home) / "scenes.yaml")
recommender = serve.run(build_app(settings, Path(bundle), "tastemaker/7", redis_url), _local_testing_mode=True)
queries = wire.decode_queries(Path(questions).read_bytes())
caught_up = Retrying(wait=wait_fixed(0.1), stop=stop_after_delay(120), retry=retry_if_result(bool))
caught_up(lambda: recommender.recommend.remote(queries).result().degraded)  # of `news`, which follows from now on
slates = []
for query in queries:
    slates += recommender.recommend.remote([query]).result().slates
Path(answers).write_bytes(wire.encode_batch(wire.Batch("tastemaker/7", slates)))
"""


@pytest.fixture
def users(redis_url: str, model_bundle: Bundle) -> list[str]:
    """Some who have watched items of the bundle, and one who has not."""
    items = [f"item-{code}" for code in range(model_bundle.manifest.items)]
    return [*seed_users(redis_url, items, users=20, events=30), "a stranger"]


def answered(queries: Sequence[wire.Query], bundle: Bundle, redis_url: str, folder: Path) -> list[Decision]:
    """What the edge would log of the Recommender's answers."""
    questions, answers = folder / "questions", folder / "answers"
    questions.write_bytes(wire.encode_queries(queries))
    command = [sys.executable, "-c", ANSWER, str(folder), str(bundle.path), redis_url, str(questions), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    batch = wire.decode_batch(answers.read_bytes())
    return [_decision(query, slate, batch) for query, slate in zip(queries, batch.slates, strict=True)]


def _decision(query: wire.Query, slate: wire.RankedSlate, batch: wire.Batch) -> Decision:
    shown = Slate(
        query.request_id,
        query.user_id,
        query.scene,
        (),
        batch.model_version,
        slate.served_from,
        degraded=tuple(slate.degraded),
    )
    return decision_of(query, shown, "blue", propensities=slate.chances(), trace=slate.trace)


def test_what_was_answered_comes_out_alike_and_every_item_has_a_fate(
    users: list[str], model_bundle: Bundle, redis_url: str, tmp_path: Path
) -> None:
    queries = [
        wire.Query(
            request_id=f"r{number}",
            user_id=user_id,
            scene=SCENES[number % len(SCENES)],
            device="tv",
            n=20,
            exclude=["item-5"],
            traced=True,
            country="DE",
            shown=[["item-7", "item-9"]],
        )
        for number, user_id in enumerate(users)
    ]
    own = tmp_path / "scenes.yaml"
    own.write_text("home: {explore: {share: 0.2}}\nnews: {item_life_h: 1.0e+6}")  # the items are years old
    decisions = answered(queries, model_bundle, redis_url, tmp_path)
    assert all(is_whole(decision) for decision in decisions)
    again = list(rerun(model_bundle, Settings(home=tmp_path, scenes_file=own), decisions))
    assert Comparison.of(again) == Comparison(len(users), overlap=1.0, same=1.0, first=1.0, moved=0.0)

    for decision in decisions[: len(SCENES)]:
        assert decision.trace is not None
        fates = [explain(decision, f"item-{code}").item for code in range(model_bundle.manifest.items)]
        assert {fate.stage for fate in fates if fate is not None} <= {
            "sources", "seen", "excluded", "retrieval", "rules", "ranking", "caps", "re-ranking", "unavailable"
        }  # fmt: skip
