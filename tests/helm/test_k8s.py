"""k8s/: samples that are valid, a base that is the chart's, overlays that kustomize builds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tastemaker.rollout.resources import API_VERSION, ModelRolloutSpec

Object = dict[str, Any]

K8S = Path(__file__).parents[2] / "k8s"
SAMPLES = sorted((K8S / "samples").glob("*.yaml"))
KUBECTL = os.environ.get("TASTEMAKER_KUBECTL") or shutil.which("kubectl")


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.name)
def test_a_sample_is_a_valid_rollout(file: Path) -> None:
    (rollout,) = yaml.safe_load_all(file.read_text())
    assert (rollout["apiVersion"], rollout["kind"]) == (API_VERSION, "ModelRollout")
    spec = ModelRolloutSpec.model_validate(rollout["spec"])
    assert spec.recommender == "tastemaker", "the name that `helm install tastemaker` makes"
    assert file.read_text().startswith("# "), "a sample says what it is for"


def test_the_first_sample_is_the_default() -> None:
    spec = yaml.safe_load((K8S / "samples/01-rollout.yaml").read_text())["spec"]
    assert ModelRolloutSpec.model_validate(spec) == ModelRolloutSpec()


def test_samples_are_numbered() -> None:
    assert [file.name[:2] for file in SAMPLES] == [f"{number:02}" for number in range(1, len(SAMPLES) + 1)]


def test_the_base_is_what_the_chart_renders(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    (tmp_path / "helm").symlink_to(K8S.parent / "helm")
    environment = os.environ | {"TASTEMAKER_HELM": os.environ.get("TASTEMAKER_HELM", "helm")}
    subprocess.run([tmp_path / "k8s/render.sh"], check=True, env=environment)
    for name in ("base/tastemaker.yaml", "components/demo/demo.yaml"):
        assert (tmp_path / "k8s" / name).read_text() == (K8S / name).read_text(), "run k8s/render.sh"


@pytest.mark.parametrize(("overlay", "image"), [("laptop", "localhost/"), ("production", "registry.example.com/")])
def test_an_overlay_reaches_every_object(overlay: str, image: str) -> None:
    if KUBECTL is None:
        pytest.skip("kubectl is not on PATH; TASTEMAKER_KUBECTL may name it")
    built = subprocess.run(
        [KUBECTL, "kustomize", K8S / "overlays" / overlay], check=True, capture_output=True, text=True
    )
    objects: list[Object] = list(yaml.safe_load_all(built.stdout))
    assert len({one["metadata"].get("namespace") for one in objects if one["kind"] != "Namespace"}) == 1
    (recommender,) = [one for one in objects if one["kind"] == "Recommender"]
    assert recommender["spec"]["image"].startswith(image)
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] in {"Deployment", "StatefulSet", "Job"}]
    assert all(container["image"].startswith(image) for pod in pods for container in pod["containers"])
    (edge,) = [one for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    assert edge["spec"]["maxReplicas"] == {"laptop": 3, "production": 40}[overlay]
    assert ("demo" in {one["metadata"]["labels"].get("app.kubernetes.io/component") for one in objects
                       if one["kind"] == "Job"}) is (overlay == "laptop")  # fmt: skip
