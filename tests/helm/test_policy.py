"""What holds for every rendered object, in every scenario: how containers run, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Object = dict[str, Any]

LONG_RUNNING = {"Deployment", "StatefulSet", "InferenceService"}
PINNED = re.compile(r"^\S+(:(?!latest$)[\w.-]+|@sha256:[a-f0-9]{64})$")
LISTENS_NOWHERE = {"traffic"}
"""The demo's simulated viewers: nobody asks them anything, so there is nothing to probe."""


def pods(one: Object) -> Iterator[Object]:
    """The specifications of all pods that an object makes."""
    spec = one.get("spec", {})
    match one["kind"]:
        case "Pod":
            yield spec
        case "Deployment" | "StatefulSet" | "Job":
            yield spec["template"]["spec"]
        case "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]["spec"]
        case "InferenceService":
            yield spec["predictor"]
        case "RayCronJob":
            yield spec["jobTemplate"]["submitterPodTemplate"]["spec"]
            cluster = spec["jobTemplate"]["rayClusterSpec"]
            for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
                yield group["template"]["spec"]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_images_are_pinned(objects: Iterator[Object]) -> None:
    images = [container["image"] for one in objects for pod in pods(one) for container in containers(pod)]
    assert len(images) >= 5
    assert [image for image in images if not PINNED.match(image)] == []


def test_no_container_has_a_privilege(objects: Iterator[Object]) -> None:
    for one in objects:
        for pod in pods(one):
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
            assert not [volume for volume in pod.get("volumes", []) if "hostPath" in volume]
            whole = pod["securityContext"]
            assert (whole["runAsNonRoot"], whole["runAsUser"]) == (True, 10001)
            assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in containers(pod):
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                }, f"{one['kind']} {one['metadata']['name']}"


def test_every_container_says_what_it_needs(objects: Iterator[Object]) -> None:
    for one in objects:
        for pod in pods(one):
            for container in containers(pod):
                where = f"{one['kind']} {one['metadata']['name']}"
                assert {"cpu", "memory"} <= container["resources"].get("requests", {}).keys(), where
                assert "memory" in container["resources"].get("limits", {}), where


def test_what_runs_on_is_probed(objects: Iterator[Object]) -> None:
    for one in objects:
        if one["kind"] not in LONG_RUNNING:
            continue
        for pod in pods(one):
            for container in pod["containers"]:
                if container["name"] not in LISTENS_NOWHERE:
                    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), container["name"]
                    assert container["ports"]


def test_the_edge_never_has_a_gap(objects: Iterator[Object]) -> None:
    by_name = {(one["kind"], one["metadata"]["name"].rpartition("-")[2]): one for one in objects}
    edge = by_name["Deployment", "edge"]["spec"]
    assert edge["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = edge["template"]["spec"]
    (container,) = pod["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < sleep < pod["terminationGracePeriodSeconds"]
    budget = by_name["PodDisruptionBudget", "edge"]["spec"]
    assert budget["selector"]["matchLabels"] == edge["selector"]["matchLabels"]


def test_only_the_operator_may_ask_the_api_server(objects: Iterator[Object]) -> None:
    found = list(objects)
    for one in found:
        if one["kind"] == "ServiceAccount":
            assert one["automountServiceAccountToken"] is False
        for pod in pods(one):
            assert pod["automountServiceAccountToken"] is (one["metadata"]["name"].endswith("-operator"))
            assert pod["enableServiceLinks"] is False, "its variables would look like settings"
    (binding,) = [one for one in found if one["kind"] == "RoleBinding"]
    (operator,) = [one for one in found if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("operator")]
    (subject,) = binding["subjects"]
    assert subject["name"] == operator["spec"]["template"]["spec"]["serviceAccountName"]


def test_the_operators_role_is_small(objects: Iterator[Object]) -> None:
    found = list(objects)
    assert not [one for one in found if one["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    (role,) = [one for one in found if one["kind"] == "Role"]
    may: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        for resource in rule["resources"]:
            may.setdefault(resource, set()).update(rule["verbs"])
    everything = {"get", "list", "watch", "create", "patch", "delete"}
    kuberay = any(one["kind"] == "Recommender" and one["spec"]["provider"] == "kuberay" for one in found)
    assert may == {
        "recommenders": {"get", "list", "watch"},
        "modelrollouts": {"get", "list", "watch"},
        "recommenders/status": {"patch"},
        "modelrollouts/status": {"patch"},
        "pods": {"get", "list", "watch"},
        "events": {"create", "patch"},
        **dict.fromkeys(("deployments", "services", "configmaps"), everything),
        **dict.fromkeys(("horizontalpodautoscalers", "poddisruptionbudgets"), everything),
        **({"rayservices": everything} if kuberay else {}),
    }


def test_secrets_stay_in_secrets(objects: Iterator[Object]) -> None:
    found = list(objects)
    values = [value for one in found if one["kind"] == "Secret" for value in one["stringData"].values()]
    rest = yaml.safe_dump([one for one in found if one["kind"] != "Secret"])
    assert not [value for value in values if value in rest]
    for one in found:
        for pod in pods(one):
            for container in containers(pod):
                for variable in container.get("env", []):
                    if re.search("PASSWORD|TOKEN|API_KEY|REDIS_URL", variable["name"]):
                        assert "secretKeyRef" in variable["valueFrom"], variable["name"]
                assert "PASSWORD" not in " ".join(container.get("args", [])).replace('"$REDIS_PASSWORD"', "")


def test_selectors_find_their_pods(objects: Iterator[Object]) -> None:
    found = list(objects)
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in found if one["kind"] in {"Deployment", "StatefulSet"}
    ]
    for one in found:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"].items()
            assert len([each for each in labels if wanted <= each.items()]) == 1, one["metadata"]["name"]


def test_what_names_another_object_names_one_that_is_there(objects: Iterator[Object]) -> None:
    """Autoscalers, routes, claims, ConfigMaps, ServiceAccounts."""
    found = list(objects)
    there = {(one["kind"], one["metadata"]["name"]) for one in found}
    makes_accounts = any(one["kind"] == "ServiceAccount" for one in found)
    for one in found:
        if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}:
            assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in there
        for pod in pods(one):
            if makes_accounts:
                assert ("ServiceAccount", pod["serviceAccountName"]) in there
            for volume in pod.get("volumes", []):
                source = volume.get("configMap", {})
                if source and not source.get("optional"):
                    assert ("ConfigMap", source["name"]) in there
                claim = volume.get("persistentVolumeClaim", {}).get("claimName")
                assert claim in {None, "training-runs"} or ("PersistentVolumeClaim", claim) in there
