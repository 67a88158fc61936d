"""Every object of every scenario is one that a cluster takes: Kubernetes' own, other projects', and ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tastemaker.rollout.resources import GROUP, RecommenderSpec

Object = dict[str, Any]

VERSIONS = [f"1.{minor}" for minor in range(31, 38)]
OWN = {"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
"""Groups of Kubernetes itself."""
CRDS = "TASTEMAKER_CRDS"


def _group(one: Object) -> str:
    return str(one["apiVersion"]).rpartition("/")[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(objects: Iterator[Object], version: str) -> None:
    checked = 0
    for one in objects:
        if _group(one) in OWN:
            problem = _problem(json.dumps(one), version)
            assert not problem, f"{one['kind']} {one['metadata']['name']}: {problem}"
            checked += 1
    assert checked > 10


def test_other_projects_know_every_field(objects: Iterator[Object]) -> None:
    if not os.environ.get(CRDS):
        pytest.skip(f"{CRDS} names no folder with the definitions of KubeRay, KEDA, KServe, …")
    for one in objects:
        if _group(one) not in OWN | {GROUP}:
            _check(one, _definition(Path(os.environ[CRDS]), one["apiVersion"], one["kind"]))


def test_our_own_resources_are_valid(objects: Iterator[Object], chart: Path) -> None:
    (recommender,) = [one for one in objects if _group(one) == GROUP]
    _check(recommender, _definition(chart / "crds", recommender["apiVersion"], "Recommender"))
    spec = RecommenderSpec.model_validate(recommender["spec"])
    assert spec.image.rpartition(":")[2] != "latest"


def test_an_unknown_field_of_another_project_is_found(chart: Path) -> None:
    """Guards the checks above: a schema that lets everything through would find nothing."""
    wrong = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Recommender", "metadata": {"name": "x"}}
    with pytest.raises(pytest.fail.Exception, match="replica"):
        _check(
            wrong | {"spec": {"image": "a:1", "ranker": {"replica": 2}}},
            _definition(chart / "crds", f"{GROUP}/v1alpha1", "Recommender"),
        )


def test_every_object_is_of_its_namespace_and_named_once(objects: Iterator[Object]) -> None:
    found = list(objects)
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in found]
    assert len(names) == len(set(names))
    assert {one["metadata"].get("namespace") for one in found} == {"shop"}
    for one in found:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "tastemaker"
        assert labels["app.kubernetes.io/instance"] == "demo"


@lru_cache(maxsize=4096)
def _problem(one: str, version: str) -> str:
    """What Kubernetes would say; scenarios share most objects."""
    try:
        kubernetes_validate.validate(json.loads(one), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return ""


def _check(one: Object, schema: Object) -> None:
    for error in Draft202012Validator(schema).iter_errors(one):
        pytest.fail(f"{one['kind']} {one['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message[:300]}")


@lru_cache(maxsize=64)
def _definition(folder: Path, api_version: str, kind: str) -> Object:
    """JSON schema of a custom resource, from a folder of CRDs."""
    group, _, version = api_version.partition("/")
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text()
        if f"kind: {kind}\n" not in text:  # some of them are megabytes
            continue
        for crd in yaml.load_all(text, _Loader):
            if crd and crd["spec"]["group"] == group and crd["spec"]["names"]["kind"] == kind:
                (found,) = [one for one in crd["spec"]["versions"] if one["name"] == version]
                return _closed(found["schema"]["openAPIV3Schema"], root=True)
    pytest.fail(f"{folder} has no definition of {api_version} {kind}")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Takes `=` for a string, as YAML 1.2 does; regular operators of Prometheus are among the CRDs' enums."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: loader.construct_scalar(node))


def _closed(schema: Object, *, root: bool = False) -> Object:
    """A structural schema in which an unknown field is an error, as for `kubectl apply --validate=strict`."""
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "format"}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.pop("nullable", False) and "type" in made:
        made["type"] = [made["type"], "null"]
    if "properties" in schema:
        made["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        if root:
            made["properties"] |= {"apiVersion": True, "kind": True, "metadata": True}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            made["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _closed(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _closed(schema["items"])
    return made
