"""k8s/samples/training: a run on a cluster is the run of a laptop."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from typer.testing import CliRunner

from tastemaker.config import Settings
from tastemaker_training import cli
from tastemaker_training.checkpoints import storage
from tastemaker_training.hardware import hardware

SAMPLE = Path(__file__).parents[2] / "k8s/samples/training/rayjob.yaml"


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (job,) = yaml.safe_load_all(SAMPLE.read_text())
    return job  # type: ignore[no-any-return]


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_its_entry_point_is_a_command_of_ours(job: dict[str, Any]) -> None:
    program, command, *options = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("tastemaker", "train")
    app = typer.Typer()
    app.command()(lambda: None)
    app.command("train")(cli.train)
    # Help is shown only after the options before it were understood.
    assert CliRunner().invoke(app, ["train", *options, "--help"]).exit_code == 0
    wanted = hardware(options[options.index("--workers") + 1])
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (wanted.fewest, wanted.most)


def test_its_variables_name_settings(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for pod in pods(job):
        for variable in pod["containers"][0]["env"]:
            if variable["name"] != "TASTEMAKER_CONFIG":
                monkeypatch.setenv(variable["name"], variable.get("value", "redis://redis"))
    settings = Settings()
    assert storage(settings, "a-run").url == "s3://tastemaker/runs/a-run"
    assert settings.lake.startswith("s3://"), "several pods share no volume"


def test_all_pods_run_the_same_image(job: dict[str, Any]) -> None:
    assert len({pod["containers"][0]["image"] for pod in pods(job)}) == 1


@pytest.mark.skipif("TASTEMAKER_CRDS" not in os.environ, reason="TASTEMAKER_CRDS names no folder of CRDs")
def test_kuberay_knows_every_field(job: dict[str, Any]) -> None:
    crd = yaml.safe_load((Path(os.environ["TASTEMAKER_CRDS"]) / "ray.io_rayjobs.yaml").read_text())
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == "v1"]
    problems = [problem.message for problem in Draft202012Validator(_closed(schema)).iter_errors(job)]
    assert not problems


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused, and Kubernetes' own keywords in JSON Schema's words."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields") and schema.get("additionalProperties") is None:
            found["additionalProperties"] = False
        if "apiVersion" in schema["properties"]:
            found["properties"]["metadata"] = {"type": "object"}
    if schema.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found
