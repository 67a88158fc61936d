"""A colour as KubeRay's RayService: KubeRay starts Ray and its workers, scales them, and deploys the application.

The application comes from `serveConfigV2`, by the builder that `serve models` uses, too, because a RayService is ready
only once its Serve configuration runs; a head that ran `serve models` by itself would never be. Checked against the
definition of KubeRay 1.7 and the rules of its `validation.go`.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from tastemaker.ray_env import OBJECT_STORE_BYTES, RAY_VERSION
from tastemaker.rollout.pods import (
    AGENT_PORT,
    GCS_PORT,
    PORT,
    PRE_STOP_S,
    RAYLET_HEALTH_PATH,
    SECONDS_TO_START,
    Object,
    Place,
    container,
    fetch_bundle,
    http_probe,
    multi_node,
    pod,
    ray_cpus,
)
from tastemaker.rollout.resources import Placement, RecommenderSpec, WorkerGroup

APP: Final = "tastemaker"
BUILDER: Final = "tastemaker_serving.rayservice:build"
DASHBOARD_PORT: Final = 8265
SERVE_HEALTH_PATH: Final = "/-/healthz"
IDLE_S: Final = 120
"""A worker that holds no replica for so long goes."""
HEAD_NAME: Final = "head"


def serve_service(place: Place) -> str:
    """The Service that KubeRay makes for the Serve proxies of a RayService, and keeps over its changes."""
    return f"{place.name}-serve-svc"


def ray_service(place: Place, spec: RecommenderSpec) -> Object:
    """The whole colour."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": place.metadata(place.name),
        "spec": {
            "serveConfigV2": yaml.safe_dump(_serve_config(place), sort_keys=False),
            # A changed specification comes as another colour: KubeRay's own upgrade would put a third one beside them.
            "upgradeStrategy": {"type": "None"},
            "rayClusterConfig": {
                "rayVersion": RAY_VERSION,
                "authOptions": {"mode": "token"},  # KubeRay makes the token and gives it to every pod
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {
                    "version": "v2",
                    "idleTimeoutSeconds": IDLE_S,
                    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
                    "securityContext": _container(spec, "autoscaler", spec.head)["securityContext"],
                    "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
                },
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0"} | _start(spec.head),  # noqa: S104
                    "template": _head(place, spec),
                },
                "workerGroupSpecs": [_group(place, spec, group) for group in spec.workers],
            },
        },
    }


def _serve_config(place: Place) -> Object:
    application = {
        "name": APP,
        "route_prefix": "/",
        "import_path": BUILDER,
        "args": {"model": place.version},
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT},  # noqa: S104
        "logging_config": {"enable_access_log": False},
        "applications": [application],
    }


def _head(place: Place, spec: RecommenderSpec) -> Object:
    main = _container(spec, "models", spec.head) | {
        "ports": [
            {"name": "gcs-server", "containerPort": GCS_PORT},
            {"name": "dashboard", "containerPort": DASHBOARD_PORT},
            {"name": "serve", "containerPort": PORT},
        ],
        "startupProbe": http_probe("/api/gcs_healthz", DASHBOARD_PORT, 2, SECONDS_TO_START // 2),
        "readinessProbe": http_probe("/api/gcs_healthz", DASHBOARD_PORT, 5, 3),
        "livenessProbe": http_probe("/api/gcs_healthz", DASHBOARD_PORT, 10, 6),
    }
    template = _pod(place, spec, spec.head, HEAD_NAME, main)
    # The autoscaler asks the API server, through the account that KubeRay makes for each cluster.
    template["spec"] |= {"automountServiceAccountToken": True}
    del template["spec"]["serviceAccountName"]
    return template


def _group(place: Place, spec: RecommenderSpec, group: WorkerGroup) -> Object:
    main = _container(spec, "worker", group) | {
        "ports": [{"name": "serve", "containerPort": PORT}],
        "startupProbe": http_probe(RAYLET_HEALTH_PATH, AGENT_PORT, 2, SECONDS_TO_START // 2),
        # Only a worker whose proxy runs may stand behind the Service.
        "readinessProbe": http_probe(SERVE_HEALTH_PATH, "serve", 5, 3),
        "livenessProbe": http_probe(RAYLET_HEALTH_PATH, AGENT_PORT, 10, 6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
    }
    return {
        "groupName": group.name,
        "replicas": group.min_replicas,
        "minReplicas": group.min_replicas,
        "maxReplicas": group.max_replicas,
        "rayStartParams": _start(group),
        "template": _pod(place, spec, group, group.name, main),
    }


def _pod(place: Place, spec: RecommenderSpec, placement: Placement, part: str, main: Object) -> Object:
    template = pod(place, spec, placement, part, main)
    template["spec"]["initContainers"] = [fetch_bundle(spec, place)]
    return template


def _container(spec: RecommenderSpec, name: str, placement: Placement) -> Object:
    """Without what KubeRay itself sets: Ray's authentication."""
    made = container(spec, name, placement, multi_node(spec))
    return made | {"env": [one for one in made["env"] if not one["name"].startswith("RAY_AUTH_")]}


def _start(placement: Placement) -> dict[str, str]:
    """Parameters of `ray start`; KubeRay wants strings."""
    found: dict[str, Any] = {"object-store-memory": OBJECT_STORE_BYTES, "num-cpus": ray_cpus(placement)}
    if isinstance(placement, WorkerGroup) and placement.gpus:
        found["num-gpus"] = placement.gpus
    return {name: str(value) for name, value in found.items() if value is not None}
