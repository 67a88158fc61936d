"""The CustomResourceDefinitions, generated from the models in resources.py (`tastemaker operator crds`).

JSON Schema as pydantic writes it becomes a structural schema as the API server wants it
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema):
references inlined, no titles, no `anyOf` for what may be absent, and OpenAPI 3.0's `exclusiveMinimum`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic_core import to_jsonable_python

from tastemaker.rollout import resources
from tastemaker.rollout.resources import GROUP, LONGEST_NAME, PINNED, VERSION, Resource

Schema = dict[str, Any]

_GREATER: Final = (
    ("self.maxReplicas >= self.minReplicas", "maxReplicas must not be below minReplicas", ".maxReplicas"),
)
RULES: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "Autoscaling": _GREATER,
    "WorkerGroup": _GREATER,
    "RecommenderSpec": (
        (
            f"self.image.matches('{PINNED.replace(chr(92), chr(92) * 2)}') && !self.image.endsWith(':latest')",
            "image must have a tag other than latest, or a digest",
            ".image",
        ),
    ),
    "Query": (("has(self.max) || has(self.min)", "a query needs max, min or both", ""),),
    "ModelRolloutSpec": (
        (
            "self.steps.map(step, step.weight).isSorted() && "
            "self.steps.all(step, self.steps.exists_one(other, other.weight == step.weight))",
            "weights of the steps must grow from step to step",
            ".steps",
        ),
        ("self.model == oldSelf.model", "model cannot be changed: make another ModelRollout", ".model"),
        (
            "self.recommender == oldSelf.recommender",
            "recommender cannot be changed: make another ModelRollout",
            ".recommender",
        ),
        (
            "oldSelf.action != 'Abort' || self.action == 'Abort'",
            "an aborted rollout stays aborted: make another ModelRollout",
            ".action",
        ),
        (
            "oldSelf.action != 'Promote' || self.action in ['Promote', 'Abort']",
            "a promoted rollout can only be aborted",
            ".action",
        ),
    ),
}
"""CEL rules by model: the rule, what the API server says otherwise, and the field that it points at."""

_NAME_RULE: Final = {
    "rule": f"self.metadata.name.matches('^[a-z]([-a-z0-9]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?$')",
    "message": f"the name must be a DNS label of at most {LONGEST_NAME} characters that begins with a letter: "
    "Services are named after it",
}
_RECOMMENDER_COLUMNS: Final = (
    ("Phase", "string", ".status.phase", 0),
    ("Colour", "string", ".status.active.colour", 0),
    ("Version", "string", ".status.active.version", 0),
    ("Rollout", "string", ".status.rollout", 0),
    ("Message", "string", ".status.message", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)
_ROLLOUT_COLUMNS: Final = (
    ("Recommender", "string", ".spec.recommender", 0),
    ("Model", "string", ".spec.model", 0),
    ("Version", "string", ".status.version", 0),
    ("Phase", "string", ".status.phase", 0),
    ("Step", "integer", ".status.step", 0),
    ("Weight", "integer", ".status.weight", 0),
    ("Lift", "string", ".status.lift", 0),
    ("Reason", "string", ".status.reason", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Message", "string", ".status.message", 1),
)
Columns = tuple[tuple[str, str, str, int], ...]


def schema_of(model: type[Resource]) -> Schema:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    # pydantic leaves out what a factory makes; the API server shall fill it in all the same.
    for name, field in model.model_fields.items():
        if field.default_factory is not None:
            made = to_jsonable_python(field.get_default(call_default_factory=True), by_alias=True)
            schema["properties"][field.alias or name]["default"] = made
    return _structural(schema, schema.get("$defs", {}))


def crds() -> list[dict[str, Any]]:
    """Both definitions."""
    recommender = _crd(
        "Recommender", "rec", resources.RecommenderSpec, resources.RecommenderStatus, _RECOMMENDER_COLUMNS
    )
    _root(recommender)["x-kubernetes-validations"] = [_NAME_RULE]
    rollout = _crd("ModelRollout", "mro", resources.ModelRolloutSpec, resources.ModelRolloutStatus, _ROLLOUT_COLUMNS)
    return [recommender, rollout]


def as_yaml(documents: list[dict[str, Any]]) -> str:
    """Objects as a YAML stream."""
    return yaml.safe_dump_all(documents, sort_keys=False, width=120, allow_unicode=True)


def _crd(kind: str, short: str, spec: type[Resource], status: type[Resource], columns: Columns) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    root = {
        "type": "object",
        "description": inspect.cleandoc(spec.__doc__ or "").splitlines()[0],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema_of(spec),
            "status": schema_of(status),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["tastemaker"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in columns],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _root(crd: dict[str, Any]) -> Schema:
    root: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def _column(name: str, kind: str, path: str, priority: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})


def _structural(schema: Schema, shared: Mapping[str, Schema]) -> Schema:
    """One node of JSON Schema, and all below it, as the API server wants it."""
    if "$ref" in schema:
        target = shared[schema["$ref"].rpartition("/")[2]]
        return _structural(target | {key: value for key, value in schema.items() if key != "$ref"}, shared)
    if "anyOf" in schema:  # X or null: absent where it has no default, nullable where null overrides one
        there, _ = sorted(schema["anyOf"], key=lambda one: one.get("type") == "null")
        outer = {key: value for key, value in schema.items() if key not in {"anyOf", "title"}}
        nullable = {"nullable": True} if schema.get("default") is not None else {}
        return _structural(there | outer, shared) | nullable
    found: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "description" in found:
        found["description"] = " ".join(found["description"].split())
    if schema.get("default") is not None:
        found["default"] = _without_none(schema["default"])
    if "exclusiveMinimum" in schema:
        found |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if "exclusiveMaximum" in schema:
        found |= {"maximum": schema["exclusiveMaximum"], "exclusiveMaximum": True}
    found |= _children(schema, shared)
    rules = [_rule(*rule) for rule in RULES.get(schema["title"], ())] if "properties" in schema else []
    return found | ({"x-kubernetes-validations": rules} if rules else {})


_KEPT: Final = (
    "type", "description", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum",
)  # fmt: skip
_LIST_KEYS: Final = ("name", "type")
"""What names an item of a list, where it is required: two of one name are refused."""


def _children(schema: Schema, shared: Mapping[str, Schema]) -> Schema:
    if "items" in schema:
        items = _structural(schema["items"], shared)
        key = next((key for key in _LIST_KEYS if key in items.get("required", ())), None)
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]} if key else {}
        return keys | {"items": items}
    if "properties" in schema:
        required = {"required": schema["required"]} if "required" in schema else {}
        return required | {"properties": {k: _structural(v, shared) for k, v in schema["properties"].items()}}
    if schema.get("additionalProperties") is True:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if "additionalProperties" in schema:
        return {"additionalProperties": _structural(schema["additionalProperties"], shared)}
    return {}


def _rule(rule: str, message: str, path: str) -> dict[str, str]:
    return {"rule": rule, "message": message} | ({"fieldPath": path} if path else {})


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value
