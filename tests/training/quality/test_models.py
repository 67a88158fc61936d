from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tastemaker.errors import InvalidInput
from tastemaker_training import recipes
from tastemaker_training.quality import models
from tastemaker_training.quality.formats import pairs
from tastemaker_training.quality.problem import Problem


@pytest.fixture
def three_items_each(tmp_path: Path) -> Problem:
    """Of each user one event is left to learn from."""
    file = tmp_path / "pairs.txt"
    file.write_text("".join(f"u{user} i{(user * 3 + step) % 40}\n" for user in range(60) for step in range(3)))
    return pairs(file)


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        ("transition", "needs two events of a user in time order to learn from"),
        ("two-tower", "nobody has two events to learn from"),
        ("hybrid", "nobody has two events to learn from"),
    ],
)
def test_what_a_model_lacks_is_named_and_another_offered(three_items_each: Problem, model: str, needs: str) -> None:
    with pytest.raises(InvalidInput, match=needs) as refused:
        models.fit(model, three_items_each, recipes.smoke(), lambda _: None)
    assert "popularity, als, graph-filter" in refused.value.remedy


@pytest.mark.parametrize("model", ["popularity", "als", "graph-filter"])
def test_what_needs_no_order_learns_from_single_events(three_items_each: Problem, model: str) -> None:
    source = models.fit(model, three_items_each, recipes.smoke(), lambda _: None)
    found = three_items_each.measure(source, lambda _: None)
    assert all(np.isfinite(values).all() for values in found.values())
