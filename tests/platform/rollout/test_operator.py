"""Statuses, conditions, events and metrics of the operator, and what it does when the API server is away."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from prometheus_client import REGISTRY

pytest.importorskip("kopf")

import kopf
from kubernetes.client import Configuration

from tastemaker.errors import Unavailable
from tastemaker.rollout import operator_status as status
from tastemaker.rollout.operator import Operator, Surroundings, Watched, registered, settings
from tastemaker.rollout.operator_api import Api
from tastemaker.rollout.operator_metrics import PHASES, Shown
from tastemaker.rollout.resources import ActiveColour, ModelRolloutStatus, RecommenderStatus, Transition

T0, T1 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def body(kind: str = "ModelRollout", version: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {
        "name": "second", "namespace": "shop", "uid": "u-1", "resourceVersion": str(version), "generation": 3,
        "creationTimestamp": T0,
    }  # fmt: skip
    return {"kind": kind, "metadata": metadata, "spec": {}} | more


def step(phase: Any, time: str = T0) -> Transition:
    return Transition(phase=phase, step=0, reason="Because", message="of that", time=time)


def test_conditions_remember_when_they_turned() -> None:
    began = ModelRolloutStatus(phase="Preparing", reason="Began", message="green comes up")
    first = status.finished_rollout(began, ModelRolloutStatus(), body(), T0)
    second = status.finished_rollout(
        first.model_copy(update={"phase": "Completed", "reason": "Done"}), first, body(), T1
    )
    assert [(one.type, one.status, one.last_transition_time) for one in first.conditions] == [
        ("Progressing", "True", T0), ("Completed", "False", T0)
    ]  # fmt: skip
    assert [(one.type, one.status, one.last_transition_time) for one in second.conditions] == [
        ("Progressing", "False", T1), ("Completed", "True", T1)
    ]  # fmt: skip
    assert second.observed_generation == 3
    assert status.finished_rollout(second, second, body(), T1) == second, "nothing changed, nothing to write"


def test_a_recommender_is_ready_while_a_colour_serves() -> None:
    active = ActiveColour(colour="blue", version="1", template="t")
    rolling = RecommenderStatus(phase="RollingOut", active=active)
    found = {one.type: one.status for one in status.finished_recommender(rolling, rolling, body(), T0).conditions}
    assert found == {"Ready": "True", "Progressing": "True", "Valid": "True"}
    waiting = RecommenderStatus(phase="WaitingForModel")
    found = {one.type: one.status for one in status.finished_recommender(waiting, waiting, body(), T0).conditions}
    assert found == {"Ready": "False", "Progressing": "False", "Valid": "True"}


def test_an_invalid_specification_keeps_what_serves() -> None:
    active = ActiveColour(colour="blue", version="1", template="t")
    before = status.finished_recommender(
        RecommenderStatus(phase="Ready", active=active), RecommenderStatus(), body(), T0
    )
    after = status.refused_recommender(before, "image: none", body(), T1)
    assert after.active == active
    assert {one.type: one.status for one in after.conditions} == {
        "Ready": "True", "Progressing": "False", "Valid": "False"
    }  # fmt: skip
    with pytest.raises(ValueError, match="image must have a tag"):
        status.recommender_of(body("Recommender", spec={"image": "a"}))
    with pytest.raises(ValueError, match="steps"):
        status.rollout_of(body(spec={"steps": []}))


def test_each_new_line_of_the_history_is_an_event() -> None:
    before = ModelRolloutStatus(history=[step("Preparing"), step("Warming")])
    after = before.model_copy(update={"history": [step("Warming"), step("RollingBack", T1), step("RolledBack", T1)]})
    found = status.new_events(before, after, body(), T1)
    assert [(one["type"], one["reason"]) for one in found] == [("Warning", "RollingBack"), ("Warning", "RolledBack")]
    assert found[0]["message"] == "Because: of that"
    assert found[0]["involvedObject"]["uid"] == "u-1"


def test_null_takes_a_field_out_of_the_status() -> None:
    written = status.as_json(RecommenderStatus(phase="Ready"))
    assert written["update"] is None
    assert written["rollout"] is None


def test_our_own_answer_is_newer_than_a_late_watch() -> None:
    watched = Watched()
    watched.answered(body(version=9))
    assert watched.freshest([body(version=8)])[0]["metadata"]["resourceVersion"] == "9"
    assert watched.freshest([body(version=10)])[0]["metadata"]["resourceVersion"] == "10"
    assert watched.freshest([]) == []
    assert watched.freshest([body(version=8)])[0]["metadata"]["resourceVersion"] == "8", "what is gone is forgotten"


def test_phases_are_metrics_and_go_with_their_rollout() -> None:
    shown = Shown()

    def value(metric: str, phase: str) -> float | None:
        return REGISTRY.get_sample_value(metric, {"rollout": "second", "phase": phase})

    shown.update([body(status={"phase": "Shadow", "since": T0})])
    assert value("tastemaker_rollout_phase", "Shadow") == 1
    assert value("tastemaker_rollout_phase", "Progressing") == 0
    assert (value("tastemaker_rollout_phase_seconds", "Shadow") or 0) > 60
    shown.update([body(status={"phase": "Progressing", "since": T0})])
    assert value("tastemaker_rollout_phase_seconds", "Shadow") is None
    shown.update([])
    assert {value("tastemaker_rollout_phase", phase) for phase in PHASES} == {None}


@pytest.fixture
def nobody() -> Api:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Api("shop", Configuration(host=f"http://127.0.0.1:{port}"))


def test_an_api_server_that_is_away_is_waited_for(nobody: Api, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        nobody.list("Pod")
    nothing: Any = None
    operator = Operator(Surroundings(nobody, nothing, nothing, "tastemaker"))
    broken = body("Recommender", spec={"image": "a:latest"})
    operator.look(broken, [])
    operator.look(broken, [])
    assert len([one for one in caplog.records if "does not answer" in one.message]) == 1, "it backs off"


def test_kopf_only_watches(nobody: Api) -> None:
    nothing: Any = None
    registry = registered(Operator(Surroundings(nobody, nothing, nothing, "tastemaker")), nobody)
    for handlers in (registry._changing, registry._spawning, registry._watching):
        assert not handlers.get_all_handlers(), "handlers that kopf would retry need finalizers and annotations"
    assert len(registry._indexing.get_all_handlers()) == 2
    found = settings()
    assert isinstance(found, kopf.OperatorSettings)
    assert found.scanning.disabled
    assert not found.posting.enabled
