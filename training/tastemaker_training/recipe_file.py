"""A recipe of one's own: a YAML file with what it has other than a named one.

base: default          # or smoke; default where it is left out
name: wide             # the file's name where it is left out
two_tower:
  dim: 512
  steps: 60000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training.recipes import RECIPES, Recipe, default, named

SUFFIXES: Final = (".yaml", ".yml")
BASE: Final = "base"


def chosen(recipe: str) -> Recipe:
    """The recipe of a name, or of the file at a path that ends in .yaml or .yml.

    Raises:
        InvalidInput: there is none of that name, or the file has what no recipe has; the message names the field.
        NotFound: there is no such file.
    """
    return read(Path(recipe)) if recipe.endswith(SUFFIXES) else named(recipe)


def read(file: Path) -> Recipe:
    """The recipe of a file. Raises: see `chosen`."""
    document = _document(file)
    base = asdict(named(str(document.pop(BASE, "default"))))
    try:
        # Not strictly: YAML takes 3e-3 for a word.
        recipe = msgspec.convert(_laid_over(base | {"name": file.stem}, document, str(file)), Recipe, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InvalidInput(f"{file}: {where.rstrip('`')}: {what.lower()}", "Correct the file") from error
    if recipe.name in RECIPES and recipe != replace(named(recipe.name), seed=recipe.seed):
        raise InvalidInput(
            f"{file} has the name of the recipe {recipe.name!r}, and is another", "Give it another `name`"
        )
    return recipe


def changes(recipe: Recipe) -> dict[str, Any]:
    """What a file says that makes this recipe of `default`."""
    return _difference(asdict(default()), asdict(recipe))


def _document(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise NotFound(
            f"the recipe {str(file)!r} cannot be read: {error.strerror}", "Give the path of a file"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is not YAML: {' '.join(str(error).split())}", "Correct the file") from error
    if not isinstance(document, dict | None):
        raise InvalidInput(f"{file} holds {document!r:.80}, no fields", "See docs/models.md")
    return document or {}


def _laid_over(base: Mapping[str, Any], own: object, where: str) -> dict[str, Any]:
    """The fields of `base` with those of `own`, section by section."""
    if not isinstance(own, dict):
        raise InvalidInput(f"{where} is {own!r:.80}", f"Give fields of it: {', '.join(base)}")
    unknown = [str(name) for name in own if name not in base]
    if unknown:
        raise InvalidInput(f"{where} has an unknown field {unknown[0]!r}", f"There are {', '.join(base)}")
    return {**base} | {
        name: _laid_over(base[name], value, f"{where}: {name}") if isinstance(base[name], dict) else value
        for name, value in own.items()
    }


def _difference(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _difference(base[name], value) if isinstance(value, dict) else value
        for name, value in own.items()
        if value != base[name]
    }
