"""The pods of a colour, for both providers: what every container gets, and where it may run and write. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from tastemaker.ray_env import OBJECT_STORE_BYTES, SWITCHES
from tastemaker.rollout.resources import API_VERSION, GROUP, Colour, Placement, RecommenderSpec, Role, WorkerGroup

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""

PORT: Final = 8100
HEALTH_PATH: Final = "/healthz"
GCS_PORT: Final = 6379
AGENT_PORT: Final = 52365
RAYLET_HEALTH_PATH: Final = "/api/local_raylet_healthz"
"""Ray's own, free of its token."""
HOME: Final = "/var/lib/tastemaker"
USER: Final = 10001
GPU: Final = "nvidia.com/gpu"
SECONDS_TO_START: Final = 600
GRACE_S: Final = 45
PRE_STOP_S: Final = 5
"""Longer than a Service needs to forget an ending pod."""
DEFAULT_RESOURCES: Final[Object] = {"requests": {"cpu": "250m", "memory": "1Gi"}}
"""Of a head or worker whose placement names none: enough for the sample, and for a scheduler to count with."""

RECOMMENDER_LABEL: Final = f"{GROUP}/recommender"
COLOUR_LABEL: Final = f"{GROUP}/colour"
PART_LABEL: Final = f"{GROUP}/part"
TEMPLATE_ANNOTATION: Final = f"{GROUP}/template"
VERSION_ANNOTATION: Final = f"{GROUP}/version"


@dataclass(frozen=True)
class Place:
    """Whose colour it is, and what it runs."""

    recommender: str
    uid: str
    namespace: str
    colour: Colour
    version: str
    """Number of the model version."""

    @property
    def name(self) -> str:
        """What the colour's objects are called."""
        return f"{self.recommender}-{self.colour}"

    @property
    def head(self) -> str:
        """Service through which Ray's workers find their head."""
        return f"{self.name}-head"

    @property
    def labels(self) -> dict[str, str]:
        """On every object and pod of the colour; `selector` finds them again."""
        return {
            "app.kubernetes.io/name": "tastemaker",
            "app.kubernetes.io/component": "models",
            "app.kubernetes.io/managed-by": "tastemaker-operator",
            RECOMMENDER_LABEL: self.recommender,
            COLOUR_LABEL: self.colour,
        }

    def metadata(self, name: str, part: str | None = None) -> Object:
        """Of an object that ends with the Recommender."""
        owner = {"apiVersion": API_VERSION, "kind": "Recommender", "name": self.recommender, "uid": self.uid}
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels | ({PART_LABEL: part} if part else {}),
            "annotations": {VERSION_ANNOTATION: self.version},
            # blockOwnerDeletion would need the right to update finalizers, which the operator does without.
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": False}],
        }


def selector(recommender: str, colour: Colour) -> str:
    """Label selector of everything that belongs to a colour."""
    return f"{RECOMMENDER_LABEL}={recommender},{COLOUR_LABEL}={colour}"


def pod(place: Place, spec: RecommenderSpec, placement: Placement, part: str, container: Object) -> Object:
    """A pod template around the main container. The root is read-only; everything that is written is scratch."""
    found: Object = {
        "serviceAccountName": spec.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "home", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(4 * OBJECT_STORE_BYTES)}},
        ],
    }
    found |= {"imagePullSecrets": spec.image_pull_secrets} if spec.image_pull_secrets else {}
    found |= {"nodeSelector": placement.node_selector} if placement.node_selector else {}
    found |= {"tolerations": placement.tolerations} if placement.tolerations else {}
    found |= {"affinity": placement.affinity} if placement.affinity else {}
    spread = [_spread(one, place, part) for one in placement.topology_spread_constraints]
    found |= {"topologySpreadConstraints": spread} if spread else {}
    annotations = placement.annotations | {VERSION_ANNOTATION: place.version}
    return {"metadata": {"labels": place.labels | {PART_LABEL: part}, "annotations": annotations}, "spec": found}


def container(spec: RecommenderSpec, name: str, placement: Placement, extra: dict[str, Any]) -> Object:
    """A container of the image, locked down. `extra`: its variables by name, over which `spec.env` goes."""
    variables: dict[str, Object] = {one: {"name": one, "value": value} for one, value in _variables(spec).items()}
    variables |= {one: _variable(one, value) for one, value in extra.items()}
    variables |= {one["name"]: one for one in spec.env}
    return {
        "name": name,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "env": list(variables.values()),
        "envFrom": spec.env_from,
        "resources": resources(placement),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def fetch_bundle(spec: RecommenderSpec, place: Place) -> Object:
    """An init container that lays the bundle where every other pod of the colour has it, too."""
    small = Placement(resources={"requests": {"cpu": "100m", "memory": "256Mi"}})
    return container(spec, "bundle", small, {}) | {"args": ["registry", "download", place.version]}


def resources(placement: Placement) -> Object:
    """Requests and limits; a worker's GPUs are among the limits."""
    found = {key: dict(value) for key, value in (placement.resources or DEFAULT_RESOURCES).items()}
    if isinstance(placement, WorkerGroup) and placement.gpus:
        found.setdefault("limits", {})[GPU] = str(placement.gpus)
    return found


def ray_cpus(placement: Placement) -> int | None:
    """How many CPUs Ray may hand out in a pod: its limit, else its request, rounded up; None: all of the node's."""
    asked = resources(placement)
    cpu = asked.get("limits", {}).get("cpu") or asked.get("requests", {}).get("cpu")
    if cpu is None:
        return None
    text = str(cpu)
    return max(1, math.ceil(float(text[:-1]) / 1000 if text.endswith("m") else float(text)))


def multi_node(spec: RecommenderSpec) -> dict[str, Any]:
    """Variables of pods that form one Ray: switches that a single pod sets by itself, and Ray's token.

    Ray's own token authentication is on where `spec.env` brings RAY_AUTH_TOKEN from a Secret.
    """
    named = {one["name"] for one in spec.env}
    mode = "token" if named & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} else "disabled"
    pod_ip = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return SWITCHES | {"RAY_AUTH_MODE": mode, "POD_IP": pod_ip}


def http_probe(path: str, port: int | str, period: int, failures: int, timeout: int = 5) -> Object:
    """A probe by HTTP; times in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def _variables(spec: RecommenderSpec) -> dict[str, str]:
    deployments = {
        "recommender": _sizes(spec.recommender),
        "candidate_generator": _sizes(spec.candidate_generator),
        "ranker": _sizes(spec.ranker),
    }
    return {
        "HOME": HOME,
        "TASTEMAKER_HOME": HOME,
        "TASTEMAKER_SERVING__HOST": "0.0.0.0",  # noqa: S104 - the pod's own network, behind a Service
        "TASTEMAKER_SERVING__PORT": str(PORT),
        "TASTEMAKER_SERVING__DEPLOYMENTS": json.dumps(deployments),
    }


def _sizes(role: Role) -> Object:
    """As `config.Deployment` reads them."""
    found: Object = {"replicas": role.replicas, "num_cpus": role.cpus, "num_gpus": role.gpus}
    return found | ({"autoscaling": role.autoscaling.model_dump()} if role.autoscaling else {})


def _variable(name: str, value: Any) -> Object:
    return {"name": name} | (value if isinstance(value, dict) else {"value": value})


def _spread(constraint: Object, place: Place, part: str) -> Object:
    """A constraint without a selector is about the pods of this part."""
    chosen = {"labelSelector": {"matchLabels": place.labels | {PART_LABEL: part}}}
    return chosen | constraint
