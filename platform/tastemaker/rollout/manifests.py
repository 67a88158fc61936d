"""The objects of a colour, from a Recommender's specification and a model version. Pure.

`builtin`: Deployments of our image. A colour without workers is one pod that holds a whole Ray; with workers the head
pod starts Ray for all of them, and `serve models` joins it. `kuberay`: one RayService (kuberay.py).
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from tastemaker.ray_env import OBJECT_STORE_BYTES
from tastemaker.rollout import kuberay
from tastemaker.rollout.pods import (
    AGENT_PORT,
    GCS_PORT,
    HEALTH_PATH,
    PART_LABEL,
    PORT,
    PRE_STOP_S,
    RAYLET_HEALTH_PATH,
    SECONDS_TO_START,
    TEMPLATE_ANNOTATION,
    Object,
    Place,
    container,
    fetch_bundle,
    http_probe,
    multi_node,
    pod,
    ray_cpus,
)
from tastemaker.rollout.resources import RecommenderSpec, WorkerGroup

BUSY: Final = 70
"""Per cent of the requested CPU beyond which a worker group grows."""
PRE_STOP: Final = {"preStop": {"sleep": {"seconds": PRE_STOP_S}}}


def manifests(place: Place, spec: RecommenderSpec) -> list[Object]:
    """Everything that the colour consists of, ready to be applied."""
    objects = _rendered(place, spec)
    for one in objects:
        one["metadata"]["annotations"][TEMPLATE_ANNOTATION] = template(spec)
    return objects


def template(spec: RecommenderSpec) -> str:
    """Hash of whatever the specification makes of a colour, whichever its name and version are.

    Taken from the objects themselves: times that only the leader reads do not count, and an operator that would make
    other objects brings them in through the idle colour.
    """
    objects = _rendered(Place("any", "", "", "blue", "0"), spec)
    return hashlib.sha256(json.dumps(objects, sort_keys=True).encode()).hexdigest()[:12]


def service_url(place: Place, spec: RecommenderSpec) -> str:
    """Where the colour's Recommender answers."""
    service = kuberay.serve_service(place) if spec.provider == "kuberay" else place.name
    return f"http://{service}.{place.namespace}.svc:{PORT}"


def _rendered(place: Place, spec: RecommenderSpec) -> list[Object]:
    if spec.provider == "kuberay":
        return [kuberay.ray_service(place, spec)]
    objects = [_head(place, spec), _service(place)]
    if not spec.workers:
        return objects
    objects.append(_head_service(place))
    for group in spec.workers:
        objects += _worker_objects(place, spec, group)
    return objects


def _head(place: Place, spec: RecommenderSpec) -> Object:
    serve = ["serve", "models", "--model", place.version]
    main = container(spec, "models", spec.head, _joined(spec) if spec.workers else {})
    main |= {
        "args": serve,
        "ports": [{"name": "http", "containerPort": PORT}],
        # Deep: every deployment answers. Ray replaces a lost replica within seconds, so liveness is patient.
        "startupProbe": http_probe(HEALTH_PATH, "http", 2, SECONDS_TO_START // 2),
        "readinessProbe": http_probe(HEALTH_PATH, "http", 5, 3),
        "livenessProbe": http_probe(HEALTH_PATH, "http", 10, 6),
        "lifecycle": PRE_STOP,
    }
    if spec.workers:
        start = _ray_start("--head", f"--port={GCS_PORT}", "--include-dashboard=false", cpus=ray_cpus(spec.head))
        main |= {"command": ["sh", "-c", f'{start} && exec tastemaker "$@"', "models"]}
        main["ports"].append({"name": "gcs", "containerPort": GCS_PORT})
    template = pod(place, spec, spec.head, "head", main)
    if spec.workers:
        template["spec"]["initContainers"] = [fetch_bundle(spec, place)]
    return _deployment(place, place.name, "head", template, 1)


def _joined(spec: RecommenderSpec) -> Object:
    return multi_node(spec) | {"TASTEMAKER_RAY_ADDRESS": f"$(POD_IP):{GCS_PORT}"}


def _worker_objects(place: Place, spec: RecommenderSpec, group: WorkerGroup) -> list[Object]:
    name = f"{place.name}-{group.name}"
    address = f"{place.head}:{GCS_PORT}"
    start = _ray_start(f"--address={address}", "--block", cpus=ray_cpus(group), gpus=group.gpus)
    main = container(spec, "worker", group, multi_node(spec))
    main |= {
        # A worker that starts before its head waits, instead of being restarted.
        "command": ["sh", "-c", f"until ray health-check --address {address}; do sleep 2; done; exec {start}"],
        "startupProbe": http_probe(RAYLET_HEALTH_PATH, AGENT_PORT, 2, SECONDS_TO_START // 2),
        "readinessProbe": http_probe(RAYLET_HEALTH_PATH, AGENT_PORT, 5, 3),
        "livenessProbe": http_probe(RAYLET_HEALTH_PATH, AGENT_PORT, 10, 6),
        "lifecycle": PRE_STOP,
    }
    template = pod(place, spec, group, group.name, main)
    template["spec"]["initContainers"] = [fetch_bundle(spec, place)]
    scales = group.max_replicas > group.min_replicas
    # The autoscaler alone says how many there are: a number here would undo it at each look.
    objects = [_deployment(place, name, group.name, template, None if scales else group.min_replicas)]
    if scales:
        objects.append(_autoscaler(place, name, group))
    if group.max_replicas > 1:
        objects.append(_budget(place, name, group))
    return objects


def _ray_start(*arguments: str, cpus: int | None, gpus: int = 0) -> str:
    sizes = [f"--object-store-memory={OBJECT_STORE_BYTES}"]
    sizes += [f"--num-cpus={cpus}"] if cpus else []
    sizes += [f"--num-gpus={gpus}"] if gpus else []
    return " ".join(["ray start", *arguments, '--node-ip-address="$POD_IP"', *sizes])


def _deployment(place: Place, name: str, part: str, template: Object, replicas: int | None) -> Object:
    spec: Object = {
        "selector": {"matchLabels": _selected(place, part)},
        "revisionHistoryLimit": 0,
        "template": template,
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place.metadata(name, part), "spec": spec}


def _service(place: Place) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place.metadata(place.name),
        "spec": {
            "selector": _selected(place, "head"),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _head_service(place: Place) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": place.metadata(place.head),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # the head is ready only once its workers have joined
            "selector": _selected(place, "head"),
            "ports": [{"name": "gcs", "port": GCS_PORT, "targetPort": "gcs", "protocol": "TCP"}],
        },
    }


def _autoscaler(place: Place, name: str, group: WorkerGroup) -> Object:
    busy = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": BUSY}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": place.metadata(name, group.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": max(1, group.min_replicas),
            "maxReplicas": group.max_replicas,
            "metrics": [{"type": "Resource", "resource": busy}],
        },
    }


def _budget(place: Place, name: str, group: WorkerGroup) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": place.metadata(name, group.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selected(place, group.name)}},
    }


def _selected(place: Place, part: str) -> dict[str, str]:
    return place.labels | {PART_LABEL: part}
