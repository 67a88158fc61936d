"""The story of a rollout on a real API server, from the first model to the last event."""

from __future__ import annotations

import json

from redis import Redis
from tests.cluster.stand_ins import Cluster, Edges, Kubelet, OperatorThread

from tastemaker.config import Settings
from tastemaker.registry import Registry
from tastemaker.rollout import routing


def champion(settings: Settings) -> str:
    return Registry(settings).resolve("champion").version


def test_a_good_version_is_promoted_and_everything_is_told(
    cluster: Cluster, operator: OperatorThread, settings: Settings, redis: Redis
) -> None:
    operator.start()
    cluster.recommender()
    status = cluster.until_phase("tastemaker", "Ready", "Recommender")
    assert (status["active"]["colour"], status["active"]["version"]) == ("blue", "1")
    assert cluster.colours() == {"blue": "1"}

    cluster.rollout("second")
    status = cluster.until_phase("second", "Completed")
    assert [step["phase"] for step in status["history"] if step["phase"] != "Promoting"] == [
        "Preparing", "Warming", "Shadow", "Progressing", "Progressing", "Completed"
    ]  # fmt: skip
    assert (status["version"], status["previousVersion"], status["weight"]) == ("2", "1", 100)
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert conditions == {"Progressing": "False", "Completed": "True"}
    assert champion(settings) == "2"

    cluster.until("the old colour is gone", lambda: cluster.colours() == {"green": "2"})
    status = cluster.until_phase("tastemaker", "Ready", "Recommender")
    assert status["active"]["colour"] == "green"
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Ready": "True", "Progressing": "False", "Valid": "True"
    }  # fmt: skip
    document = routing.read(redis)
    assert document is not None
    assert (document.stable.colour, document.candidate) == ("green", None)
    copy = cluster.api.get("ConfigMap", "tastemaker-routing")
    assert routing.decode(copy["data"]["routing.json"]) == document

    told = cluster.events("second")
    assert [reason for _, reason in told] == [
        step["phase"] for step in cluster.status("ModelRollout", "second")["history"]
    ]
    assert {kind for kind, _ in told} == {"Normal"}
    assert ("Normal", "Ready") in cluster.events("tastemaker")
    for kind, name in (("Recommender", "tastemaker"), ("ModelRollout", "second")):
        metadata = cluster.api.get(kind, name)["metadata"]
        assert "finalizers" not in metadata
        assert "annotations" not in metadata


def test_a_crashing_version_is_rolled_back_with_its_last_words(
    cluster: Cluster, operator: OperatorThread, kubelet: Kubelet, settings: Settings
) -> None:
    kubelet.crashing["3"] = "Traceback (most recent call last):\n  …\nBundleMismatch: the ranker is of another bundle\n"
    cluster.recommender()
    operator.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender")
    cluster.rollout("bad", model="3")
    status = cluster.until_phase("bad", "RolledBack")
    told = json.dumps(status["history"])
    assert "BundleMismatch: the ranker is of another bundle" in told
    assert "ColourFailed" in told
    cluster.until("its colour is gone", lambda: cluster.colours() == {"blue": "1"})
    assert ("Warning", "RolledBack") in cluster.events("bad")
    assert champion(settings) == "1"


def test_the_younger_of_two_rollouts_is_refused(cluster: Cluster, operator: OperatorThread, edges: Edges) -> None:
    edges.silent = True
    cluster.recommender()
    operator.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender")
    cluster.rollout("first", model="2")
    cluster.until_phase("first", "Shadow")
    cluster.rollout("second", model="3")
    refused = cluster.until_phase("second", "Failed")
    assert refused["reason"] == "Conflict"
    assert "first" in refused["message"]
    edges.silent = False
    cluster.until_phase("first", "Completed")


def test_a_deleted_rollout_leaves_nothing(
    cluster: Cluster, operator: OperatorThread, edges: Edges, redis: Redis
) -> None:
    edges.silent = True
    cluster.recommender()
    operator.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender")
    cluster.rollout("gone", shadow={"enabled": False})
    cluster.until_phase("gone", "Progressing")
    document = routing.read(redis)
    assert document is not None
    assert document.weight == 10
    cluster.api.delete("ModelRollout", "gone")
    cluster.until("its colour is gone", lambda: cluster.colours() == {"blue": "1"})
    document = routing.read(redis)
    assert document is not None
    assert (document.stable.colour, document.candidate) == ("blue", None)
    cluster.until_phase("tastemaker", "Ready", "Recommender")


def test_a_changed_specification_goes_through_the_idle_colour(cluster: Cluster, operator: OperatorThread) -> None:
    cluster.recommender()
    operator.start()
    before = cluster.until_phase("tastemaker", "Ready", "Recommender")
    cluster.recommender(image="example.com/tastemaker:0.2.0")
    cluster.until(
        "green serves", lambda: cluster.status("Recommender", "tastemaker").get("active", {}).get("colour") == "green"
    )
    cluster.until("blue is gone", lambda: cluster.colours() == {"green": "1"})
    after = cluster.until_phase("tastemaker", "Ready", "Recommender")
    assert after["active"]["template"] != before["active"]["template"]
    assert after["active"]["version"] == "1"
    (deployment,) = cluster.api.list("Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/tastemaker:0.2.0"


def test_a_broken_recommender_stops_no_other_and_says_what_is_wrong(cluster: Cluster, operator: OperatorThread) -> None:
    cluster.recommender("broken", env=[{"value": "of nothing"}])  # the API server does not know what env is
    cluster.recommender("shapeless", head={"resources": {"requests": "much"}})
    cluster.recommender("refused", env=[{"name": "A", "value": {"not": "a string"}}], head={})
    cluster.recommender()
    operator.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender")
    for name, words in (("broken", "each variable of env needs a name"), ("shapeless", "Kubernetes' own API")):
        status = cluster.until_message(name, words)
        (valid,) = [one for one in status["conditions"] if one["type"] == "Valid"]
        assert (valid["status"], valid["reason"]) == ("False", "InvalidSpec")
        assert cluster.events(name) == [("Warning", "InvalidSpec")]
    cluster.until_message("refused", "env")
