"""The chart as Helm renders it, without a cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
Values = dict[str, Any]

HOUSE = Path(__file__).parents[2]
CHART = HOUSE / "helm" / "tastemaker"
HELM = os.environ.get("TASTEMAKER_HELM") or shutil.which("helm")
NAMESPACE = "shop"
THIRD_PARTIES = (
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "keda.sh/v1alpha1/ScaledObject",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "ray.io/v1/RayCronJob",
    "ray.io/v1/RayService",
    "serving.kserve.io/v1beta1/InferenceService",
)
"""Definitions of others that a cluster may have."""

# libyaml where it is there: 37 objects in 20 ms instead of 300.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Rendered:
    """What `helm template` printed, object by object."""

    objects: tuple[Object, ...]

    def find(self, kind: str, name: str) -> Object | None:
        """The object of a kind whose name is `name`, or ends in `-name`."""
        found = [one for one in self.objects if one["kind"] == kind and _ends(one["metadata"]["name"], name)]
        assert len(found) < 2, f"several {kind} {name}"
        return found[0] if found else None

    def get(self, kind: str, name: str) -> Object:
        """Like `find`, of an object that must be there."""
        found = self.find(kind, name)
        assert found is not None, f"no {kind} {name} among {[one['metadata']['name'] for one in self.objects]}"
        return found


Render = Callable[..., Rendered]
Refuse = Callable[..., str]


def scenarios() -> list[str]:
    """Names of the installation scenarios of the chart."""
    return sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*-values.yaml"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `scenario` runs for each of them."""
    if "scenario" in metafunc.fixturenames:
        metafunc.parametrize("scenario", ["default", *scenarios()])


@pytest.fixture(autouse=True)
def _helm_is_there() -> None:
    if HELM is None:
        pytest.skip("helm is not on PATH; TASTEMAKER_HELM may name it")


@pytest.fixture(scope="session")
def chart() -> Path:
    """The chart's directory."""
    return CHART


@pytest.fixture(scope="session")
def render() -> Render:
    """Render the chart: render(values, scenario=…, release=…, apis=…). The same question is answered once."""

    def rendered(
        values: Values | None = None,
        scenario: str = "default",
        release: str = "demo",
        apis: tuple[str, ...] = THIRD_PARTIES,
    ) -> Rendered:
        done = _template(json.dumps(values or {}), scenario, release, apis)
        assert done.returncode == 0, done.stderr
        return _read(done.stdout)

    return rendered


@pytest.fixture(scope="session")
def refuse() -> Refuse:
    """What Helm says to values that the chart refuses."""

    def refused(
        values: Values, scenario: str = "default", apis: tuple[str, ...] = THIRD_PARTIES, release: str = "demo"
    ) -> str:
        done = _template(json.dumps(values), scenario, release, apis)
        assert done.returncode != 0, "Helm renders it"
        return done.stderr

    return refused


@pytest.fixture
def objects(render: Render, scenario: str) -> Iterator[Object]:
    """The objects of a scenario."""
    return iter(render(scenario=scenario).objects)


@lru_cache(maxsize=512)
def _template(values: str, scenario: str, release: str, apis: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [str(HELM), "template", release, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
    if scenario != "default":
        command += ["--values", str(CHART / "ci" / f"{scenario}-values.yaml")]
    command += [f"--api-versions={api}" for api in apis]
    return subprocess.run(command, input=values, capture_output=True, text=True, check=False)


@lru_cache(maxsize=64)
def _read(text: str) -> Rendered:
    return Rendered(tuple(one for one in yaml.load_all(text, Loader) if one))


def _ends(full: str, name: str) -> bool:
    return full == name or full.endswith(f"-{name}")
