"""A ModelRollout as people write it in a file."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tastemaker.errors import InvalidInput
from tastemaker.rollout.resources import API_VERSION, ModelRolloutSpec

KIND = "ModelRollout"
PARTS = ("apiVersion", "kind", "metadata", "spec")


def read(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Name, if it has one, and specification of the ModelRollout in a file.

    Raises:
        InvalidInput: it is none; the message names the field and says what to do.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", "Name a file with a ModelRollout") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {' '.join(str(error).split())}", "Correct the file") from error
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise InvalidInput(f"{path} holds no {KIND}", f"Begin it with apiVersion: {API_VERSION} and kind: {KIND}")
    unknown = next((part for part in document if part not in PARTS), None)
    if unknown is not None:
        raise InvalidInput(f"field {unknown!r} in {path} is unknown", _remedy(str(unknown), PARTS))
    spec = document.get("spec") or {}
    check(spec, str(path))
    return (document.get("metadata") or {}).get("name"), spec


def check(spec: Mapping[str, Any], where: str) -> ModelRolloutSpec:
    """The specification, if it is one.

    Raises:
        InvalidInput: it is none; the message names the field and says what to do.
    """
    try:
        return ModelRolloutSpec.model_validate(spec)
    except ValidationError as error:
        # A misspelt name is told before the one that is missing for it.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        place = [str(part) for part in first["loc"]]
        name = ".".join(["spec", *place])
        if first["type"] == "extra_forbidden":
            known = _fields(ModelRolloutSpec, place[:-1])
            raise InvalidInput(f"field {name} in {where} is unknown", _remedy(place[-1], known)) from error
        raise InvalidInput(
            f"field {name} in {where} is {first['input']!r}: {first['msg'].lower()}", "Correct it"
        ) from error


def _remedy(wrong: str, known: typing.Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(wrong, names, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(names)}"


def _fields(model: type[BaseModel], place: list[str]) -> list[str]:
    """The names of the fields at a place within the model."""
    if place and place[0].isdigit():
        return _fields(model, place[1:])
    if not place:
        return [field.alias or name for name, field in model.model_fields.items()]
    for name, field in model.model_fields.items():
        if place[0] in {name, field.alias}:
            inner = [part for part in _flat(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
            return _fields(inner[0], place[1:]) if inner else []
    return []


def _flat(annotation: Any) -> list[Any]:
    parts = typing.get_args(annotation)
    return [leaf for part in parts for leaf in _flat(part)] if parts else [annotation]
