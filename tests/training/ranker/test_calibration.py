from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special

from tastemaker_training.ranker.calibration import calibrate, platt
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import RankerTask, fit
from tastemaker_training.ranker.model import probabilities
from tastemaker_training.recipes import RankerRecipe

RECIPE = RankerRecipe(hidden=4, epochs=4, batch=16, negatives=10, held_out=0.5)


def task() -> RankerTask:
    """400 users with 20 candidates each; the only feature says how likely a like is, a click is twice as likely."""
    random = torch.Generator().manual_seed(1)
    cross = torch.randn(400, 20, 1, generator=random)
    chance = torch.sigmoid(1.5 * cross[..., 0] - 3)
    luck = torch.rand(400, 20, generator=random)
    nothing = torch.empty(400, 0)
    lists = Lists.of_likes(nothing, nothing, torch.arange(20).expand(400, 20), cross, luck < chance)
    labels = torch.stack([luck < chance, luck < 2 * chance], dim=-1)
    lists = replace(lists, labels=labels, heads=("like", "click"))
    return RankerTask(RECIPE, lists, torch.empty(20, 0), 0, (1.0,))


def test_platt_finds_the_curve_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    values = random.normal(3, 5, 40_000)
    found = platt(values, random.random(40_000) < special.expit(0.4 * values - 4))
    assert found.slope == pytest.approx(0.4, abs=0.03)
    assert found.shift == pytest.approx(-4, abs=0.2)


def test_a_curve_never_turns_the_order() -> None:
    values = np.arange(100.0)
    assert platt(values, values < 10).slope > 0
    assert platt(values, np.zeros(100, dtype=bool))(values).max() < 0.1


def test_calibrated_probabilities_mean_what_they_say() -> None:
    asked = task()
    found = calibrate(asked)
    assert set(found.report["heads"]) == {"like", "click"}
    for head in found.report["heads"].values():
        assert head["ece"] < 0.03
        assert head["examples"] == 200 * 20
    ranker = fit(replace(asked, lists=asked.lists.worth()))
    ranker.take([curve.slope for curve in found.curves], [curve.shift for curve in found.curves])
    mean = probabilities(ranker, asked.lists, asked.items).mean((0, 1))
    torch.testing.assert_close(mean, asked.lists.labels.float().mean((0, 1)), rtol=0.1, atol=0.0)


def test_one_list_is_enough_to_go_on_and_too_few_to_judge() -> None:
    found = calibrate(replace(task(), lists=task().lists.take(torch.arange(1))))
    assert found.report["heads"] == {}
    assert all(curve.slope > 0 for curve in found.curves)
