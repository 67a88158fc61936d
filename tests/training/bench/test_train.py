from __future__ import annotations

import pytest

from tastemaker_training.bench import train as bench_train
from tastemaker_training.bench.train import POINTS, bare_loop, synthetic_task


def test_there_is_something_to_learn_from_synthetic_users() -> None:
    task = synthetic_task(users=200, items=100, steps=60)
    (stage,) = task.stages
    assert (stage.steps, len(stage.interactions.user_ids), len(stage.interactions.item_ids)) == (60, 200, 100)
    state, told = bare_loop(task, threads=1)
    fit = bench_train._measured(task, state, told, seconds=9.0)
    assert [step for step, _ in fit.curve][-1] == 60
    assert len(fit.curve) == POINTS
    assert fit.curve[-1][1] < fit.curve[0][1]
    examples = (told[-1]["step"] - told[bench_train.WARM_UP]["step"]) * task.recipe.batch
    assert fit.examples_per_s == pytest.approx(examples / (told[-1]["wall_s"] - told[bench_train.WARM_UP]["wall_s"]))
    assert fit.examples_per_cpu_s > 0
