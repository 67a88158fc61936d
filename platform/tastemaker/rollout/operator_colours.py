"""Colours on Kubernetes: applied from manifests.py, watched through their Deployments and pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from tastemaker.errors import InvalidInput, NotFound, Unauthorized
from tastemaker.rollout.manifests import manifests, service_url, template
from tastemaker.rollout.operator_api import Api, Object
from tastemaker.rollout.pods import PART_LABEL, VERSION_ANNOTATION, Place, selector
from tastemaker.rollout.resources import Colour, RecommenderSpec
from tastemaker.rollout.world import Readiness

KINDS: Final = ("Deployment", "RayService", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service")
"""Of what a colour may consist."""
REAPPLY_S: Final = 30.0
"""A colour that is asked for again and again is compared with its manifests so often: what somebody deleted returns."""
RESTARTS: Final = 2
"""Once may be bad luck."""
UNSCHEDULABLE_S: Final = 120.0
"""An autoscaler of nodes gets so long."""
CRASH_LOOP: Final = "CrashLoopBackOff"
HOPELESS: Final = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerError")
"""Why a container waits for what will not come by itself."""
LONGEST_WORDS: Final = 300
NO_KUBERAY: Final = (
    "this cluster has no RayService: install KubeRay (helm install kuberay-operator kuberay-operator --repo "
    "https://ray-project.github.io/kuberay-helm/) or set provider: builtin"
)

Url = Callable[[Place, RecommenderSpec], str]


class Applied:
    """What was applied when, by colour: kept between looks, and only to spare the API server repetitions."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, Colour], tuple[str, float]] = {}

    def is_fresh(self, uid: str, colour: Colour, what: str) -> bool:
        """Whether just this was applied lately."""
        before = self._done.get((uid, colour))
        return before is not None and before[0] == what and time.monotonic() - before[1] < REAPPLY_S

    def remember(self, uid: str, colour: Colour, what: str) -> None:
        """It was applied now."""
        self._done[uid, colour] = (what, time.monotonic())

    def forget(self, uid: str, colour: Colour | None = None) -> None:
        """A colour, or all of a Recommender, was taken down."""
        for key in [key for key in self._done if key[0] == uid and colour in (None, key[1])]:
            del self._done[key]


class KubernetesColours:
    """The colours of one Recommender, by its present specification; made anew for each look of the leader.

    Raises:
        ValueError: no objects can be made from the specification.
    """

    def __init__(
        self, api: Api, name: str, uid: str, spec: RecommenderSpec, applied: Applied, url: Url = service_url
    ) -> None:
        self._api = api
        self._name = name
        self._uid = uid
        self._spec = spec
        self._applied = applied
        self._url = url
        try:
            self._template = template(spec)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it does not fit Kubernetes' own API: {error!r}") from error
        self._refused: dict[Colour, str] = {}
        self._seen: dict[Colour, Readiness] = {}

    @property
    def template(self) -> str:
        """Hash of whatever the specification makes of a colour."""
        return self._template

    def bring_up(self, colour: Colour, version: str) -> None:
        """Apply the colour's objects, and delete what an older specification left of it."""
        what = f"{version} {self._template}"
        if self._applied.is_fresh(self._uid, colour, what):
            return
        self._seen.pop(colour, None)
        wanted = manifests(self._place(colour, version), self._spec)
        try:
            for one in wanted:
                self._api.apply(one)
        except (InvalidInput, Unauthorized) as error:
            # Said again at each look, and not kept anywhere else: a corrected specification tries anew.
            self._refused[colour] = str(error)
            return
        except NotFound:
            self._refused[colour] = NO_KUBERAY
            return
        self._refused.pop(colour, None)
        keep = {(one["kind"], one["metadata"]["name"]) for one in wanted}
        self._delete(colour, keep)
        self._applied.remember(self._uid, colour, what)

    def look(self, colour: Colour) -> Readiness:
        """Ready once the head is available and no older pod of it answers; hopeless once a pod says so."""
        if colour not in self._seen:  # the leader asks several times in one look
            self._seen[colour] = self._look(colour)
        return self._seen[colour]

    def _look(self, colour: Colour) -> Readiness:
        url = self._url(self._place(colour, ""), self._spec)
        if colour in self._refused:
            return Readiness(False, self._refused[colour], url)
        chosen = selector(self._name, colour)
        kind = "RayService" if self._spec.provider == "kuberay" else "Deployment"
        heads = [one for one in self._api.list(kind, chosen) if one["metadata"]["name"] == f"{self._name}-{colour}"]
        if not heads:
            return Readiness(False, url=url)
        (head,) = heads
        if kind == "RayService":
            ready, failure = _ray_service_state(head)
        else:
            ready, failure = _is_complete(head), ""
        if ready or failure:
            return Readiness(ready, failure, url)
        version = head["metadata"]["annotations"].get(VERSION_ANNOTATION)
        pods = [one for one in self._api.list("Pod", chosen) if _is_of(one, version)]
        return Readiness(False, next(_failures(pods, datetime.now(UTC)), ""), url)

    def take_down(self, colour: Colour) -> None:
        """Delete whatever carries the colour's labels."""
        self._seen.pop(colour, None)
        self._applied.forget(self._uid, colour)
        self._delete(colour, set())

    def _delete(self, colour: Colour, keep: set[tuple[str, str]]) -> None:
        for kind in KINDS:
            try:
                found = self._api.list(kind, selector(self._name, colour))
            except Unauthorized:
                if kind == "RayService" and self._spec.provider != "kuberay":
                    continue  # the chart grants it only where KubeRay is used
                raise
            for one in found:
                if (kind, one["metadata"]["name"]) not in keep:
                    self._api.delete(kind, one["metadata"]["name"])

    def _place(self, colour: Colour, version: str) -> Place:
        return Place(self._name, self._uid, self._api.namespace, colour, version)


def _is_complete(deployment: Object) -> bool:
    status = deployment.get("status", {})
    replicas = status.get("replicas", 0)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("availableReplicas", 0) >= 1
        and status.get("updatedReplicas", 0) == replicas
    )


def _ray_service_state(service: Object) -> tuple[bool, str]:
    status = service.get("status", {})
    if status.get("observedGeneration", 0) < service["metadata"]["generation"]:
        return False, ""
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        for name, application in (status.get(part, {}).get("applicationStatuses") or {}).items():
            if application.get("status") == "DEPLOY_FAILED":
                return False, f"Ray could not deploy {name}: {_last_line(application.get('message', ''))}"
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
    return ready, ""


def _is_of(pod: Object, version: str | None) -> bool:
    metadata = pod["metadata"]
    return "deletionTimestamp" not in metadata and metadata.get("annotations", {}).get(VERSION_ANNOTATION) == version


def _failures(pods: list[Object], now: datetime) -> Iterator[str]:
    """Why a colour that is not ready will not become so, in words, the surest first."""
    for pod in pods:
        part = pod["metadata"]["labels"].get(PART_LABEL, "pod")
        status = pod.get("status", {})
        for one in [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]:
            words = _container_failure(one)
            if words:
                yield f"{part}: {words}"
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition.get("reason") == "Unschedulable" and condition["status"] == "False":
                since = (now - datetime.fromisoformat(condition["lastTransitionTime"])).total_seconds()
                if since > UNSCHEDULABLE_S:
                    yield f"no node takes it since {since:.0f} s: {_last_line(condition.get('message', ''))}"


def _container_failure(status: dict[str, Any]) -> str:
    if status.get("ready"):
        return ""
    waiting = status.get("state", {}).get("waiting", {})
    reason, restarts = waiting.get("reason"), status.get("restartCount", 0)
    if reason in HOPELESS:
        return f"{reason}: {_last_line(waiting.get('message', ''))}"
    if reason != CRASH_LOOP and restarts < RESTARTS:
        return ""
    ended = status.get("lastState", {}).get("terminated") or status.get("state", {}).get("terminated") or {}
    crashes = restarts + ("running" not in status.get("state", {}))
    line = _last_line(ended.get("message") or ended.get("reason") or "")
    return f"crashed {crashes} times, exit code {ended.get('exitCode', 'unknown')}: {line}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-LONGEST_WORDS:] if lines else "no word"
