from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from tastemaker.errors import InvalidInput, NotFound
from tastemaker_training import recipe_file, recipes


def written(folder: Path, text: str, name: str = "wide.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_changes_fields_of_a_named_recipe(tmp_path: Path) -> None:
    text = (
        "{base: smoke, validation: 0.2, two_tower: {dim: 32, learning_rate: 3e-4, user_length: 2}, ranker: {hidden: 8}}"
    )
    base = recipes.smoke()
    assert recipe_file.chosen(written(tmp_path, text)) == replace(
        base,
        name="wide",
        validation=0.2,
        two_tower=replace(base.two_tower, dim=32, learning_rate=3e-4, user_length=2.0),
        ranker=replace(base.ranker, hidden=8),
    )
    assert recipe_file.chosen(written(tmp_path, "", "same.yml")) == replace(recipes.default(), name="same")
    assert recipe_file.chosen(written(tmp_path, "name: wider")).name == "wider"
    assert recipe_file.chosen("smoke") == base


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("two_towers: {dim: 32}", r"wide.yaml has an unknown field 'two_towers'. There are .*two_tower, neighbours"),
        ("two_tower: {dims: 32}", r"wide.yaml: two_tower has an unknown field 'dims'. There are dim, id_rows"),
        ("two_tower: 32", r"wide.yaml: two_tower is 32. Give fields of it: dim, id_rows"),
        ("two_tower: {dim: wide}", r"wide.yaml: two_tower.dim: expected `int`, got `str`"),
        ("two_tower: {steps: 0}", r"wide.yaml: two_tower.steps: expected `int` >= 1"),
        ("holdout: 1.5", r"wide.yaml: holdout: expected `float` < 1"),
        ("base: huge", r"unknown recipe 'huge'. Use one of default, smoke"),
        ("name: ../../etc", r"wide.yaml: name: expected"),
        ("name: smoke", r"has the name of the recipe 'smoke', and is another. Give it another `name`"),
        ("- 1", r"holds \[1\], no fields"),
        ("{", r"wide.yaml is not YAML"),
    ],
)
def test_what_no_recipe_has_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        recipe_file.chosen(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"mine.yaml' cannot be read: No such file"):
        recipe_file.chosen(str(tmp_path / "mine.yaml"))
    with pytest.raises(InvalidInput, match=r"unknown recipe 'mine'. Use one of default, smoke, or a YAML file"):
        recipe_file.chosen("mine")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_what_a_recipe_changes_makes_it_again(tmp_path: Path, name: str) -> None:
    own = replace(recipes.named(name), name="own", als=replace(recipes.default().als, factors=8))
    assert recipe_file.chosen(written(tmp_path, yaml.safe_dump(recipe_file.changes(own)))) == own
    assert recipes.from_document(asdict(own)) == own, "as a bundle carries it"
