from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.features.cross import CROSS_FEATURES
from tastemaker.training import Training
from tastemaker_training import checkpoints, cluster
from tastemaker_training.checkpoints import Storage
from tastemaker_training.hardware import Hardware
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import (
    RankerTask,
    epochs,
    fit,
    fresh,
    learning_rate,
    optimizer_of,
    train_ranker_worker,
)
from tastemaker_training.ranker.model import starting_weights
from tastemaker_training.recipes import RankerRecipe

RECIPE = RankerRecipe(hidden=8, epochs=3, batch=8, negatives=6)


@pytest.fixture
def task() -> RankerTask:
    torch.manual_seed(0)
    shape = (40, 10)
    lists = Lists.of_likes(
        user_vectors=torch.randn(40, 4),
        profiles=torch.rand(40, 3),
        codes=torch.randint(0, 30, shape),
        cross=torch.randn(*shape, len(CROSS_FEATURES)),
        liked=torch.arange(10).expand(shape) < 2,
    )
    return RankerTask(RECIPE, lists, torch.randn(30, 5), seed=3, start=starting_weights())


def test_the_rate_falls_from_its_peak() -> None:
    assert learning_rate(0.0) == pytest.approx(1.0)
    assert learning_rate(0.5) == pytest.approx(0.525)
    assert learning_rate(1.0) == pytest.approx(0.05)


def test_a_restart_goes_on_where_it_stopped(task: RankerTask) -> None:
    whole = fit(task)
    torch.manual_seed(task.seed)
    ranker = fresh(task)
    optimizer = optimizer_of(ranker, task.recipe)
    next(epochs(ranker, optimizer, task))
    for _ in epochs(ranker, optimizer, task, start=1):
        pass
    torch.testing.assert_close(ranker.state_dict(), whole.state_dict())


@pytest.mark.stack
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_ray_train_fits_the_same_ranker(task: RankerTask, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    with ray_session.session(Settings(home=tmp_path)):
        run = cluster.Run("ranker", Storage(str(tmp_path)), Hardware(), Training())
        checkpoint = cluster.fit(train_ranker_worker, {"task": ray.put(task)}, run, heard.append, print)
        state = checkpoints.load(checkpoint)
    assert state["epoch"] == RECIPE.epochs
    torch.testing.assert_close(state["ranker"], dict(fit(task).state_dict()), rtol=1e-3, atol=1e-4)
    assert all(metrics["steps"] == RECIPE.epochs for metrics in heard)
