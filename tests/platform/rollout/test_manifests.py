"""A colour's objects: what they say, and that every supported Kubernetes takes them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tastemaker import config
from tastemaker.ray_env import RAY_VERSION
from tastemaker.rollout.manifests import manifests, service_url, template
from tastemaker.rollout.pods import COLOUR_LABEL, RECOMMENDER_LABEL, TEMPLATE_ANNOTATION, Place, ray_cpus, selector
from tastemaker.rollout.resources import Placement, RecommenderSpec

ROOT = Path(__file__).parents[3]
KUBERNETES = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
PLACE = Place("tastemaker", "u-1", "shop", "green", "7")
PLAIN = RecommenderSpec(image="example.com/tastemaker:0.1.0")
GPU_PRODUCTION = RecommenderSpec.model_validate(
    {
        "image": "example.com/tastemaker:0.1.0",
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccount": "models",
        "env": [
            {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": "ray", "key": "token"}}},
            {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow:5000"},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "ranker": {"gpus": 0.5, "autoscaling": {"minReplicas": 2, "maxReplicas": 6, "targetOngoingRequests": 3}},
        "head": {"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m", "memory": "4Gi"}}},
        "workers": [
            {"name": "cpu", "minReplicas": 2, "maxReplicas": 4, "nodeSelector": {"pool": "cpu"}},
            {
                "name": "gpu",
                "gpus": 1,
                "resources": {"requests": {"cpu": 2, "memory": "8Gi"}},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
                ],
            },
        ],
    }
)
KUBERAY = GPU_PRODUCTION.model_copy(update={"provider": "kuberay"})
SPECS = {"plain": PLAIN, "gpu": GPU_PRODUCTION, "kuberay": KUBERAY}


def named(spec: RecommenderSpec) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in manifests(PLACE, spec)}


def pod_specs(spec: RecommenderSpec) -> list[dict[str, Any]]:
    found = []
    for one in manifests(PLACE, spec):
        if one["kind"] == "Deployment":
            found.append(one["spec"]["template"]["spec"])
        if one["kind"] == "RayService":
            ray = one["spec"]["rayClusterConfig"]
            groups = [ray["headGroupSpec"], *ray["workerGroupSpecs"]]
            found += [group["template"]["spec"] for group in groups]
    return found


def env(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["plain", "gpu"])
def test_every_supported_kubernetes_takes_them(name: str, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for one in manifests(PLACE, SPECS[name]):
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.skipif("TASTEMAKER_CRDS" not in os.environ, reason="TASTEMAKER_CRDS names no folder of CRDs")
def test_kuberay_takes_the_ray_service() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    crd = yaml.safe_load((Path(os.environ["TASTEMAKER_CRDS"]) / "ray.io_rayservices.yaml").read_text())
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == "v1"]
    jsonschema.validate(manifests(PLACE, KUBERAY)[0], closed(schema))


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused, and Kubernetes' own keywords in JSON Schema's words."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields") and schema.get("additionalProperties") is None:
            found["additionalProperties"] = False
        if "apiVersion" in schema["properties"]:
            found["properties"]["metadata"] = {"type": "object"}
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_everything_belongs_to_the_recommender_and_is_found_by_its_labels(spec: RecommenderSpec) -> None:
    wanted = dict(part.split("=") for part in selector("tastemaker", "green").split(","))
    assert wanted == {RECOMMENDER_LABEL: "tastemaker", COLOUR_LABEL: "green"}
    for one in manifests(PLACE, spec):
        metadata = one["metadata"]
        assert metadata["name"].startswith("tastemaker-green")
        assert metadata["namespace"] == "shop"
        assert wanted.items() <= metadata["labels"].items()
        assert metadata["annotations"][TEMPLATE_ANNOTATION] == template(spec)
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["blockOwnerDeletion"]) == ("Recommender", "u-1", False)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_pods_are_locked_down(spec: RecommenderSpec) -> None:
    for found in pod_specs(spec):
        security = found["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in [*found["containers"], *found.get("initContainers", [])]:
            assert one["securityContext"]["readOnlyRootFilesystem"]
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not one["securityContext"]["allowPrivilegeEscalation"]
            assert one["terminationMessagePolicy"] == "FallbackToLogsOnError"
            assert one["resources"]["requests"]
            mounts = {mount["mountPath"] for mount in one["volumeMounts"]}
            assert mounts == {"/var/lib/tastemaker", "/tmp", "/dev/shm"}
            assert {mount["name"] for mount in one["volumeMounts"]} <= {volume["name"] for volume in found["volumes"]}


def test_a_plain_colour_is_one_pod_behind_a_service() -> None:
    objects = named(PLAIN)
    assert set(objects) == {("Deployment", "tastemaker-green"), ("Service", "tastemaker-green")}
    (container,) = objects["Deployment", "tastemaker-green"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["serve", "models", "--model", "7"]
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "/healthz"
    }
    assert "automountServiceAccountToken" in objects["Deployment", "tastemaker-green"]["spec"]["template"]["spec"]
    assert service_url(PLACE, PLAIN) == "http://tastemaker-green.shop.svc:8100"
    labels = objects["Deployment", "tastemaker-green"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service", "tastemaker-green"]["spec"]["selector"].items() <= labels.items()


def test_role_sizes_are_settings_that_the_pods_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in env(pod_specs(GPU_PRODUCTION)[0]["containers"][0]).items():
        if variable.startswith("TASTEMAKER_") and isinstance(value, str):
            monkeypatch.setenv(variable, value)
    monkeypatch.delenv("TASTEMAKER_CONFIG", raising=False)
    serving = config.Settings().serving
    assert serving.host == "0.0.0.0"
    assert serving.deployments.ranker.num_gpus == 0.5
    assert serving.deployments.ranker.autoscaling is not None
    assert serving.deployments.ranker.autoscaling.max_replicas == 6
    assert serving.deployments.recommender.num_cpus == 0.2


def test_workers_join_the_head_and_hold_the_bundle() -> None:
    objects = named(GPU_PRODUCTION)
    head = objects["Deployment", "tastemaker-green"]["spec"]["template"]["spec"]
    assert "--num-cpus=2 " in head["containers"][0]["command"][2] + " "
    assert "exec tastemaker" in head["containers"][0]["command"][2]
    assert env(head["containers"][0])["TASTEMAKER_RAY_ADDRESS"] == "$(POD_IP):6379"
    assert objects["Service", "tastemaker-green-head"]["spec"]["publishNotReadyAddresses"]
    worker = objects["Deployment", "tastemaker-green-gpu"]["spec"]["template"]["spec"]
    assert "--address=tastemaker-green-head:6379" in worker["containers"][0]["command"][2]
    assert "--num-gpus=1" in worker["containers"][0]["command"][2]
    assert worker["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    for found in (head, worker):
        assert found["initContainers"][0]["args"] == ["registry", "download", "7"]
        variables = env(found["containers"][0])
        assert variables["RAY_AUTH_MODE"] == "token"
        assert variables["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": "ray", "key": "token"}}
        names = [one["name"] for one in found["containers"][0]["env"]]
        assert (
            names.index("POD_IP") < names.index("TASTEMAKER_RAY_ADDRESS") if "TASTEMAKER_RAY_ADDRESS" in names else True
        )


def test_a_group_with_room_scales_and_one_without_does_not() -> None:
    objects = named(GPU_PRODUCTION)
    assert "replicas" not in objects["Deployment", "tastemaker-green-cpu"]["spec"]
    scaler = objects["HorizontalPodAutoscaler", "tastemaker-green-cpu"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert objects["PodDisruptionBudget", "tastemaker-green-cpu"]["spec"]["maxUnavailable"] == 1
    assert objects["Deployment", "tastemaker-green-gpu"]["spec"]["replicas"] == 1
    assert ("HorizontalPodAutoscaler", "tastemaker-green-gpu") not in objects


def test_a_spread_without_selector_is_about_its_own_group() -> None:
    worker = named(GPU_PRODUCTION)["Deployment", "tastemaker-green-gpu"]["spec"]["template"]
    (constraint,) = worker["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"].items() <= worker["metadata"]["labels"].items()


def test_own_variables_give_way_to_those_of_the_resource() -> None:
    spec = PLAIN.model_copy(update={"env": [{"name": "HOME", "value": "/elsewhere"}]})
    (container,) = pod_specs(spec)[0]["containers"]
    assert env(container)["HOME"] == "/elsewhere"
    assert len({one["name"] for one in container["env"]}) == len(container["env"])


def test_kuberay_gets_one_ray_service_with_our_application() -> None:
    (service,) = manifests(PLACE, KUBERAY)
    serve = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert serve["http_options"] == {"host": "0.0.0.0", "port": 8100}
    (application,) = serve["applications"]
    assert application["args"] == {"model": "7"}
    module, _, name = application["import_path"].partition(":")
    source = (ROOT / "serving" / (module.replace(".", "/") + ".py")).read_text()
    assert f"def {name}(" in source
    ray = service["spec"]["rayClusterConfig"]
    assert ray["enableInTreeAutoscaling"]
    sizes = {
        group["groupName"]: (group["minReplicas"], group["maxReplicas"], group["rayStartParams"].get("num-gpus"))
        for group in ray["workerGroupSpecs"]
    }
    assert sizes == {"cpu": (2, 4, None), "gpu": (1, 1, "1")}
    assert "serviceAccountName" not in ray["headGroupSpec"]["template"]["spec"], "KubeRay makes the autoscaler's own"
    assert not any(name.startswith("RAY_AUTH_") for name in env(pod_specs(KUBERAY)[0]["containers"][0]))
    assert service_url(PLACE, KUBERAY) == "http://tastemaker-green-serve-svc.shop.svc:8100"
    assert len(service["metadata"]["name"]) <= 47


def test_the_template_changes_with_the_pods_and_with_nothing_else() -> None:
    before = template(PLAIN)
    assert before == template(PLAIN.model_copy(update={"progress_deadline": "1m", "drain": "1s"}))
    assert re.fullmatch("[0-9a-f]{12}", before)
    changed = [
        PLAIN.model_copy(update={"image": "example.com/tastemaker:0.2.0"}),
        PLAIN.model_copy(update={"head": Placement(resources={"requests": {"cpu": "1"}})}),
        PLAIN.model_copy(update={"env": [{"name": "A", "value": "b"}]}),
        KUBERAY,
        GPU_PRODUCTION,
    ]
    assert len({before, *map(template, changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("resources", "cpus"),
    [({}, 1), ({"limits": {"memory": "1Gi"}}, None), ({"requests": {"cpu": "2500m"}}, 3), ({"limits": {"cpu": 4}}, 4)],
)
def test_ray_counts_the_cpus_of_its_pod(resources: dict[str, Any], cpus: int | None) -> None:
    assert ray_cpus(Placement(resources=resources)) == cpus


def test_kuberay_hears_of_the_ray_that_is_installed() -> None:
    assert f"ray=={RAY_VERSION}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_objects_are_plain_json() -> None:
    for spec in SPECS.values():
        assert json.loads(json.dumps(manifests(PLACE, spec))) == manifests(PLACE, spec)
