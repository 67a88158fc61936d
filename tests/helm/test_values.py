"""The values: closed, documented, and refused by name when they are wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tastemaker.config import Settings

Schema = dict[str, Any]

OPEN = {"strings", "kubernetes", "objects", "quantities"}
"""Definitions that pass on what is Kubernetes' own."""
NOT_IN_THE_CHART = {"scenes_file"}
"""A file would have to be in every pod; the same is said by `scenes`."""
SET_BY_THE_CHART = {"home", "lake_url", "redis_url", "mlflow_tracking_uri", "ray_address", "feast_registry"}


@pytest.fixture(scope="module")
def schema(chart: Path) -> Schema:
    found: Schema = json.loads((chart / "values.schema.json").read_text())
    return found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"edges": {}}, ["edges"]),
        ({"edge": {"replica": 3}}, ["edge", "replica"]),
        ({"edge": {"replicas": "three"}}, ["replicas", "integer"]),
        ({"edge": {"resources": {"request": {}}}}, ["resources", "request"]),
        ({"redis": {"persistance": {}}}, ["redis", "persistance"]),
        ({"ray": {"provider": "kube"}}, ["provider", "kuberay"]),
        ({"recommender": {"workers": [{"name": "gpu", "gpu": 1}]}}, ["workers", "gpu"]),
        ({"recommender": {"ranker": {"cpu": 1}}}, ["ranker", "cpu"]),
        ({"jobs": {"training": {"schedule": "daily"}}}, ["schedule"]),
        ({"config": {"evnt_types": {}}}, ["config", "evnt_types"]),
        ({"config": {"scenes": {"home": 3}}}, ["scenes", "home"]),
        ({"recipes": {"Wide One": {}}}, ["recipes", "Wide One"]),
        ({"recipes": {"wide": 512}}, ["recipes", "wide"]),
        ({"mlflow": {"persistence": {"size": 10}}}, ["size", "string"]),
        ({"kserve": {"models": []}}, ["models"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(refuse: Any, values: Schema, words: list[str]) -> None:
    said = refuse(values)
    assert all(word in said for word in words), said


def test_the_schema_is_closed(schema: Schema) -> None:
    for path, part in _objects("", schema):
        if path.startswith("definitions/") and path.split("/")[1] in OPEN:
            continue
        assert "additionalProperties" in part or path == "properties/global" or path.startswith("properties/config/"), (
            path
        )


def test_every_value_has_a_default_and_a_sentence(schema: Schema, chart: Path) -> None:
    text = (chart / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    for path in _leaves(schema, schema):
        assert _has(defaults, path), f"{'.'.join(path)} has no default in values.yaml"
    above = ""
    for number, line in enumerate(text.splitlines(), 1):
        is_value = ":" in line and not line.strip().startswith("#") and not line.rstrip().endswith(":")
        assert not is_value or above.startswith("#"), f"values.yaml:{number} has no `# --` line"
        above = line.strip()


def test_settings_are_those_of_the_application(schema: Schema) -> None:
    assert (
        set(schema["properties"]["config"]["properties"])
        == set(Settings.model_fields) - SET_BY_THE_CHART - NOT_IN_THE_CHART
    )


def _objects(path: str, part: Any) -> Iterator[tuple[str, Schema]]:
    """Every schema of an object in a schema."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            yield path, part
        for name, inner in part.items():
            yield from _objects(f"{path}/{name}".lstrip("/"), inner)
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            yield from _objects(f"{path}/{number}", inner)


def _leaves(schema: Schema, part: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the values that the schema knows; what is Kubernetes' own or a list ends one."""
    for name, inner in part.get("properties", {}).items():
        if path == () and name in {"global", "config"}:
            continue
        target = inner
        if "$ref" in inner:
            reference = inner["$ref"].rpartition("/")[2]
            target = {} if reference in OPEN | {"resources", "placement", "role"} else schema["definitions"][reference]
        if target.get("properties"):
            yield from _leaves(schema, target, (*path, name))
        else:
            yield (*path, name)


def _has(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, dict) or name not in values:
            # An autoscaler's behaviour and accounts' annotations are empty by default.
            return name == "behavior" or (isinstance(values, dict) and not values)
        values = values[name]
    return True
