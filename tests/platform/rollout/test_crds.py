"""The CRDs are what the models say, and the files of the chart are what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tastemaker.rollout.crds import as_yaml, crds, schema_of
from tastemaker.rollout.resources import ModelRolloutSpec, ModelRolloutStatus, RecommenderSpec, RecommenderStatus

CHART = Path(__file__).parents[3] / "helm" / "tastemaker" / "crds"
FORBIDDEN = {"$ref", "$defs", "title", "anyOf", "oneOf", "const", "examples"}


@pytest.mark.parametrize("crd", crds(), ids=lambda crd: crd["spec"]["names"]["plural"])
def test_the_chart_holds_what_the_models_say(crd: dict[str, Any]) -> None:
    file = CHART / f"{crd['spec']['names']['plural']}.yaml"
    assert file.read_text() == as_yaml([crd]), "write them anew: tastemaker operator crds --write helm/tastemaker/crds"


@pytest.mark.parametrize("model", [RecommenderSpec, RecommenderStatus, ModelRolloutSpec, ModelRolloutStatus])
def test_schemas_are_structural(model: Any) -> None:
    def walk(node: Any, place: str) -> None:
        if not isinstance(node, dict):
            return
        assert "type" in node, f"{place} has no type"
        assert not FORBIDDEN & set(node), place
        for name, inner in node.get("properties", {}).items():
            walk(inner, f"{place}.{name}")
        if "items" in node:
            walk(node["items"], f"{place}[]")

    walk(schema_of(model), model.__name__)


def test_what_may_be_left_out_has_the_default_of_the_model() -> None:
    spec = schema_of(ModelRolloutSpec)
    assert "required" not in spec
    filled = {name: one["default"] for name, one in spec["properties"].items()}
    assert ModelRolloutSpec.model_validate(filled) == ModelRolloutSpec()


def test_null_is_allowed_where_it_switches_a_default_off() -> None:
    spec = schema_of(ModelRolloutSpec)["properties"]
    assert spec["shadow"]["nullable"]
    assert spec["clickThrough"]["nullable"]
    assert "nullable" not in spec["queries"]["items"]["properties"]["max"]


def test_parts_of_kubernetes_own_api_pass_through() -> None:
    head = schema_of(RecommenderSpec)["properties"]["head"]["properties"]
    assert head["resources"] == {
        "type": "object",
        "description": "Requests and limits of the container",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert head["nodeSelector"]["additionalProperties"] == {"type": "string"}


def test_exclusive_bounds_are_those_of_openapi_3_0() -> None:
    confidence = schema_of(ModelRolloutSpec)["properties"]["clickThrough"]["properties"]["confidence"]
    assert confidence["minimum"] == 0.5
    assert confidence["exclusiveMinimum"] is True
    assert confidence["maximum"] == 1
    assert confidence["exclusiveMaximum"] is True


def test_the_command_prints_both() -> None:
    kinds = [crd["spec"]["names"]["kind"] for crd in yaml.safe_load_all(as_yaml(crds()))]
    assert kinds == ["Recommender", "ModelRollout"]


REFUSED = [
    (RecommenderSpec, {"image": "registry:5000/tastemaker"}, "tag other than latest"),
    (RecommenderSpec, {"image": "tastemaker:latest"}, "tag other than latest"),
    (RecommenderSpec, {"image": "a:1", "workers": [{"name": "cpu", "minReplicas": 3, "maxReplicas": 2}]}, "below"),
    (RecommenderSpec, {"image": "a:1", "ranker": {"autoscaling": {"minReplicas": 9}}}, "below"),
    (ModelRolloutSpec, {"steps": [{"weight": 5}, {"weight": 5}]}, "grow"),
    (ModelRolloutSpec, {"steps": [{"weight": 50}, {"weight": 5}]}, "grow"),
    (ModelRolloutSpec, {"queries": [{"name": "p99", "query": "up"}]}, "max, min or both"),
    (ModelRolloutSpec, {"stepz": []}, "Extra inputs"),
]


@pytest.mark.parametrize(("model", "spec", "words"), REFUSED)
def test_the_models_refuse_what_the_api_server_refuses(model: Any, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(spec)


@pytest.mark.parametrize(
    "image", ["a:1", "localhost:5000/a/b:1.2-x", f"a@sha256:{'0' * 64}", f"a:latest@sha256:{'0' * 64}"]
)
def test_pinned_images(image: str) -> None:
    assert RecommenderSpec(image=image).image == image


def test_disabled_is_left_out() -> None:
    spec = ModelRolloutSpec.model_validate({"shadow": {"enabled": False}, "clickThrough": {"enabled": False}})
    assert spec.shadow is None
    assert spec.click_through is None
