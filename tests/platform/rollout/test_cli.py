"""The command line of rollouts, on a real Redis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from tastemaker import config
from tastemaker.errors import Conflict, InvalidInput, NotFound, Unavailable
from tastemaker.rollout.cli import rollout
from tastemaker.rollout.local import LocalRollouts
from tastemaker.rollout.resources import ModelRolloutStatus

GOOD = """
apiVersion: tastemaker.dev/v1alpha1
kind: ModelRollout
metadata: {name: from-a-file}
spec:
  model: challenger
  shadow: {enabled: false}
  steps: [{weight: 10, duration: 30s}, {weight: 100, duration: 30s}]
"""


@pytest.fixture(autouse=True)
def here(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TASTEMAKER_REDIS_URL", redis_url)
    config.load.cache_clear()
    yield
    config.load.cache_clear()


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(rollout, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_rollout_from_start_to_deletion(redis: Redis) -> None:
    assert "Begin one with" in run("list")
    name = json.loads(run("start", "3", "--steps", "5:10m,100", "--json"))["name"]
    assert name.startswith("v3-")
    (made,) = LocalRollouts(redis).all()
    assert (made.spec.model, [step.weight for step in made.spec.steps]) == ("3", [5, 100])
    for command, action in (("pause", "Pause"), ("resume", "Run"), ("promote", "Promote"), ("abort", "Abort")):
        run(command, name)
        assert LocalRollouts(redis).all()[0].spec.action == action
    assert name in run("list")
    assert json.loads(run("status", "--json"))["status"]["phase"] == "Pending"
    run("delete", name)
    assert json.loads(run("list", "--json")) == []


def test_watching_ends_with_the_rollout_and_its_exit_code_tells(redis: Redis) -> None:
    run("start", "--name", "a")
    uid = LocalRollouts(redis).all()[0].uid
    LocalRollouts(redis).keep("a", uid, ModelRolloutStatus(phase="RolledBack", reason="Errors", message="too many"))
    assert "too many" in run("status", "a", "--watch", code=1)
    LocalRollouts(redis).keep("a", uid, ModelRolloutStatus(phase="Completed"))
    assert json.loads(run("status", "a", "--watch", "--json"))["status"]["phase"] == "Completed"


def test_what_has_ended_takes_no_more_orders(redis: Redis) -> None:
    run("start", "--name", "a")
    LocalRollouts(redis).keep("a", LocalRollouts(redis).all()[0].uid, ModelRolloutStatus(phase="RolledBack"))
    with pytest.raises(InvalidInput, match="has ended"):
        run("promote", "a")


def test_a_file_is_taken_as_it_is(redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(GOOD)
    run("start", "--file", str(file))
    (made,) = LocalRollouts(redis).all()
    assert (made.name, made.spec.shadow, made.spec.steps[0].weight) == ("from-a-file", None, 10)
    run("start", "4", "--file", str(file), "--name", "other")
    assert LocalRollouts(redis).all()[1].spec.model == "4"
    with pytest.raises(Conflict):
        run("start", "--file", str(file))


@pytest.mark.parametrize(
    ("wrong", "by", "message"),
    [
        ("steps:", "stpes:", r"spec\.stpes in .* is unknown\. Did you mean steps\?"),
        ("weight: 10", "wieght: 10", r"spec\.steps\.0\.wieght in .* is unknown\. Did you mean weight\?"),
        ("weight: 10", "weight: 0", r"spec\.steps\.0\.weight in .* is 0: input should be greater"),
        ("duration: 30s", "duration: soon", r"spec\.steps\.0\.duration in .* is 'soon'"),
        ("{enabled: false}", "{sare: 5}", r"spec\.shadow\.sare in .* is unknown\. Did you mean share\?"),
        ("metadata:", "metadta:", r"field 'metadta' in .* is unknown\. Did you mean metadata\?"),
        ("kind: ModelRollout", "kind: Rollout", r"holds no ModelRollout\. Begin it with"),
        ("from-a-file", "Not_A_Name", r"is no name for a rollout"),
        ("spec:", "spec: [", r"is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_a_remedy(tmp_path: Path, wrong: str, by: str, message: str) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(GOOD.replace(wrong, by))
    with pytest.raises(InvalidInput, match=message):
        run("start", "--file", str(file))


@pytest.mark.parametrize("arguments", [("start", "--steps", "half"), ("start", "--steps", "50:soon")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        run(*arguments)


def test_a_rollout_that_is_not_there_is_said() -> None:
    with pytest.raises(NotFound, match="there is no rollout yet"):
        run("status")
    run("start", "--name", "a")
    with pytest.raises(NotFound, match="no rollout 'b'"):
        run("status", "b")


def test_without_a_cluster_the_namespace_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match=r"no cluster is configured.*KUBECONFIG"):
        run("list", "--namespace", "n")


def test_without_the_client_the_namespace_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(Unavailable, match=r"pip install 'tastemaker\[operator\]'"):
        run("list", "--namespace", "n")
