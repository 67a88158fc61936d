"""What pods and Deployments say about a colour, in words. Pure; tests/cluster has the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("kopf")

from tastemaker.errors import InvalidInput, NotFound, Unauthorized
from tastemaker.rollout import operator_colours
from tastemaker.rollout.operator_colours import Applied, KubernetesColours
from tastemaker.rollout.pods import VERSION_ANNOTATION
from tastemaker.rollout.resources import RecommenderSpec

SPEC = RecommenderSpec(image="example.com/tastemaker:0.1.0")
KUBERAY = SPEC.model_copy(update={"provider": "kuberay"})


class FakeApi:
    """An API server with what the test says, and a list of what was asked of it."""

    namespace = "shop"

    def __init__(self, pods: Any = (), refusal: Exception | None = None, **status: Any) -> None:
        self.pods, self.refusal, self.asked = list(pods), refusal, list[str]()
        self.status = status

    def list(self, kind: str, selector: str) -> Any:
        if kind == "Pod":
            return self.pods
        if kind in {"Deployment", "RayService"} and self.status:
            return [deployment(**self.status)]
        return []

    def apply(self, wanted: Any) -> Any:
        self.asked.append(f"apply {wanted['kind']}")
        if self.refusal is not None:
            raise self.refusal

    def delete(self, kind: str, name: str) -> None:
        self.asked.append(f"delete {kind} {name}")


def deployment(**status: Any) -> Any:
    metadata = {"name": "tastemaker-green", "generation": 2, "annotations": {VERSION_ANNOTATION: "7"}}
    return {"metadata": metadata, "status": status}


def pod(containers: Any = (), conditions: Any = (), version: str = "7", **metadata: Any) -> Any:
    about = {"labels": {"tastemaker.dev/part": "head"}, "annotations": {VERSION_ANNOTATION: version}} | metadata
    return {"metadata": about, "status": {"containerStatuses": list(containers), "conditions": list(conditions)}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}}} | more


def colours(api: Any, spec: RecommenderSpec = SPEC, applied: Applied | None = None) -> KubernetesColours:
    return KubernetesColours(api, "tastemaker", "u-1", spec, applied or Applied())


READY: dict[str, Any] = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
CRASHED = {"terminated": {"exitCode": 3, "message": "Traceback\n  line\nKeyError: 'towers'\n\n"}}


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        (READY, True),
        (READY | {"observedGeneration": 1}, False),  # the controller has not seen the change yet
        (READY | {"replicas": 2}, False),  # a pod of the version before still answers
        (READY | {"availableReplicas": 0}, False),
        ({"observedGeneration": 2}, False),
    ],
)
def test_ready_is_what_the_present_pods_are(status: dict[str, Any], ready: bool) -> None:
    found = colours(FakeApi(**status)).look("green")
    assert (found.ready, found.failure, found.url) == (ready, "", "http://tastemaker-green.shop.svc:8100")


def test_a_colour_that_was_not_brought_up_is_not_ready() -> None:
    assert not colours(FakeApi()).look("green").ready


KEY_ERROR = "head: crashed 2 times, exit code 3: KeyError: 'towers'"
AGAIN = {"ready": False, "restartCount": 2, "state": {"running": {}}, "lastState": CRASHED}
PULL = 'Back-off pulling image "x:1"'
FAILED = {"tastemaker": {"status": "DEPLOY_FAILED", "message": "a\nb"}}
FAILURES = [
    ([pod([waiting("CrashLoopBackOff", restartCount=1, lastState=CRASHED)])], KEY_ERROR),
    ([pod([AGAIN])], KEY_ERROR),
    ([pod([waiting("ImagePullBackOff", PULL)])], f"head: ImagePullBackOff: {PULL}"),
    ([pod([waiting("ContainerCreating")])], ""),
    ([pod([waiting("CrashLoopBackOff", lastState=CRASHED)], version="6")], ""),  # of the version before
    ([pod([waiting("CrashLoopBackOff", lastState=CRASHED)], deletionTimestamp="now")], ""),
    ([pod([{"ready": False, "restartCount": 1, "state": {"running": {}}, "lastState": CRASHED}])], ""),
]  # fmt: skip


@pytest.mark.parametrize(("pods", "words"), FAILURES)
def test_why_it_will_not_become_ready(pods: Any, words: str) -> None:
    found = colours(FakeApi(pods, observedGeneration=2)).look("green")
    assert (found.ready, found.failure) == (False, words)


@pytest.mark.parametrize(("minutes", "hopeless"), [(1, False), (3, True)])
def test_a_pod_that_fits_on_no_node_is_hopeless_after_a_while(minutes: int, hopeless: bool) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since}
    condition["message"] = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    found = colours(FakeApi([pod(conditions=[condition])], observedGeneration=2)).look("green")
    assert ("Insufficient nvidia.com/gpu" in found.failure) is hopeless


RAY = [
    ({"conditions": [{"type": "Ready", "status": "True"}]}, True, ""),
    ({"conditions": [{"type": "Ready", "status": "False"}]}, False, ""),
    (
        {
            "pendingServiceStatus": {
                "applicationStatuses": {"tastemaker": {"status": "DEPLOY_FAILED", "message": "a\nb"}}
            }
        },
        False,
        "Ray could not deploy tastemaker: b",
    ),
]


@pytest.mark.parametrize(("status", "ready", "words"), RAY)
def test_a_ray_service_says_it_itself(status: dict[str, Any], ready: bool, words: str) -> None:
    found = colours(FakeApi(observedGeneration=2, **status), KUBERAY).look("green")
    assert (found.ready, found.failure) == (ready, words)
    assert found.url == "http://tastemaker-green-serve-svc.shop.svc:8100"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (InvalidInput("PATCH Deployment: env is wrong"), "env is wrong"),
        (Unauthorized("PATCH Deployment: forbidden"), "forbidden"),
        (NotFound("PATCH RayService"), "install KubeRay"),
    ],
)
def test_what_the_api_server_refuses_is_why_it_will_not_come(refusal: Exception, words: str) -> None:
    chosen = colours(FakeApi(refusal=refusal), KUBERAY)
    chosen.bring_up("green", "7")
    assert words in chosen.look("green").failure


def test_repetitions_are_spared_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    applied = Applied()
    api = FakeApi()
    for _ in range(3):
        colours(api, applied=applied).bring_up("green", "7")
    assert api.asked == ["apply Deployment", "apply Service"]
    colours(api, applied=applied).bring_up("green", "8")
    assert len(api.asked) == 4
    monkeypatch.setattr(operator_colours, "REAPPLY_S", 0.0)
    colours(api, applied=applied).bring_up("green", "8")
    assert len(api.asked) == 6


def test_what_an_older_specification_left_goes() -> None:
    api = FakeApi(**READY)
    chosen = colours(api, KUBERAY)
    chosen.bring_up("green", "7")
    assert api.asked == ["apply RayService", "delete Deployment tastemaker-green"]
    api.asked.clear()
    chosen.take_down("green")
    assert "delete Deployment tastemaker-green" in api.asked
    assert "delete RayService tastemaker-green" in api.asked


def test_a_specification_without_shape_is_refused_in_words() -> None:
    broken = SPEC.model_copy(update={"head": SPEC.head.model_copy(update={"resources": {"requests": "much"}})})
    with pytest.raises(ValueError, match="Kubernetes' own API"):
        colours(FakeApi(), broken)
