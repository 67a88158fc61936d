"""What the API server itself refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.stand_ins import Cluster

from tastemaker.errors import InvalidInput

CPU = {"name": "cpu"}
NEW_ROLLOUTS: list[tuple[dict[str, Any], str]] = [
    ({"steps": [{"weight": 50}, {"weight": 10}]}, "weights of the steps must grow from step to step"),
    ({"steps": [{"weight": 10}, {"weight": 10}]}, "weights of the steps must grow from step to step"),
    ({"steps": []}, "should have at least 1 item"),
    ({"steps": [{"weight": 0}]}, "greater than or equal to 1"),
    ({"steps": [{"weight": 101}]}, "less than or equal to 100"),
    ({"steps": [{"duration": "1m"}]}, "spec.steps[0].weight: Required value"),
    ({"steps": [{"weight": 1, "duration": "1 week"}]}, "spec.steps[0].duration"),
    ({"queries": [{"name": "p99", "query": "up"}]}, "a query needs max, min or both"),
    ({"queries": [{"name": "a", "query": "up", "max": 1}] * 2}, "Duplicate value"),
    ({"action": "Stop"}, 'supported values: "Run", "Pause", "Promote", "Abort"'),
    ({"guardrails": {"maxErrorShare": 2}}, "spec.guardrails.maxErrorShare"),
    ({"clickThrough": {"confidence": 1}}, "should be less than 1"),
    ({"recommender": "No Name"}, "spec.recommender"),
    ({"shadow": {"share": 200}}, "spec.shadow.share"),
]
CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("Run", {"model": "3"}, "model cannot be changed: make another ModelRollout"),
    ("Run", {"recommender": "other"}, "recommender cannot be changed: make another ModelRollout"),
    ("Abort", {"action": "Run"}, "an aborted rollout stays aborted"),
    ("Promote", {"action": "Run"}, "a promoted rollout can only be aborted"),
]
RECOMMENDERS: list[tuple[str, dict[str, Any], str]] = [
    ("tastemaker", {"image": "tastemaker"}, "image must have a tag other than latest, or a digest"),
    ("tastemaker", {"image": "localhost:5000/tastemaker"}, "image must have a tag other than latest, or a digest"),
    ("tastemaker", {"image": "tastemaker:latest"}, "image must have a tag other than latest, or a digest"),
    ("tastemaker", {"provider": "docker"}, 'supported values: "builtin", "kuberay"'),
    ("tastemaker", {"ranker": {"autoscaling": {"minReplicas": 9}}}, "maxReplicas must not be below minReplicas"),
    ("tastemaker", {"workers": [CPU | {"minReplicas": 2}]}, "maxReplicas must not be below minReplicas"),
    ("tastemaker", {"workers": [CPU, CPU]}, "Duplicate value"),
    ("tastemaker", {"workers": [{"name": "CPU"}]}, "spec.workers[0].name"),
    ("tastemaker", {"progressDeadline": "soon"}, "spec.progressDeadline"),
    ("9tastemaker", {}, "the name must be a DNS label of at most 40 characters"),
    ("a" * 41, {}, "the name must be a DNS label of at most 40 characters"),
    ("a.b", {}, "the name must be a DNS label of at most 40 characters"),
]


def test_new_rollouts(cluster: Cluster) -> None:
    for number, (spec, words) in enumerate(NEW_ROLLOUTS):
        with pytest.raises(InvalidInput) as refused:
            cluster.new("ModelRollout", f"rollout-{number}", spec)
        assert words in str(refused.value)
    assert cluster.api.list("ModelRollout") == []


def test_changes_of_rollouts(cluster: Cluster) -> None:
    for number, (action, change, words) in enumerate(CHANGES):
        cluster.rollout(f"rollout-{number}", action=action)
        with pytest.raises(InvalidInput) as refused:
            cluster.change("ModelRollout", f"rollout-{number}", **change)
        assert words in str(refused.value)
    cluster.change("ModelRollout", "rollout-3", action="Abort")
    cluster.change("ModelRollout", "rollout-0", action="Pause")


def test_recommenders(cluster: Cluster) -> None:
    for name, spec, words in RECOMMENDERS:
        with pytest.raises(InvalidInput) as refused:
            cluster.new("Recommender", name, {"image": "tastemaker:1"} | spec)
        assert words in str(refused.value)
    assert cluster.api.list("Recommender") == []


def test_an_unknown_field_is_refused_as_kubectl_asks(cluster: Cluster) -> None:
    with pytest.raises(InvalidInput, match=r'unknown field "spec.weights"'):
        cluster.new("ModelRollout", "typo", {"weights": [1, 5]})


def test_defaults_are_filled_in_and_null_switches_off(cluster: Cluster) -> None:
    made = cluster.rollout("plain", shadow=None, clickThrough=None)["spec"]
    assert made["shadow"] is None
    assert made["clickThrough"] is None
    assert made["action"] == "Run"
    assert made["guardrails"]["maxP99Milliseconds"] == 400
    made = cluster.recommender()["spec"]
    assert made["provider"] == "builtin"
    assert made["ranker"]["cpus"] == 0.2
