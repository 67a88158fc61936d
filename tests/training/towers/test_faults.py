"""Workers that die in the middle of a run."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.training import Training
from tastemaker_training.checkpoints import Storage
from tastemaker_training.cluster import Run
from tastemaker_training.hardware import Hardware
from tastemaker_training.towers import loop, worker
from tastemaker_training.towers.loop import Task

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")]

STEPS = 100


@pytest.fixture
def task(tower_task: Task) -> Task:
    """Long enough to be killed in the middle of."""
    stage = replace(tower_task.stages[0], steps=STEPS, validate_every=10)
    return replace(tower_task, recipe=replace(tower_task.recipe, patience=99), stages=(stage,))


def test_a_killed_worker_goes_on_from_the_last_checkpoint(task: Task, tmp_path: Path) -> None:
    said: list[str] = []
    killer = Killer(at=STEPS // 2)
    with ray_session.session(Settings(home=tmp_path)):
        run = Run("killed", Storage(str(tmp_path / "runs")), Hardware(), Training())
        state = worker.fit(task, run, killer, said.append)
    assert killer.killed, "it ran to its end before it was killed"
    (told,) = said
    found = re.fullmatch(
        r"worker 0 died at step (\d+) of fit \(.+\); going on from step (\d+) of fit with 1 worker", told
    )
    assert found, told
    assert 0 < int(found[2]) <= int(found[1]) < STEPS
    assert len(state["curves"]["fit"]["loss"]) == STEPS, "no step is lost or counted twice"
    undisturbed = loop.fit(task)
    assert _end(state) == pytest.approx(_end(undisturbed), rel=0.1)
    assert state["best"]["score"] == pytest.approx(undisturbed["best"]["score"], abs=0.05)


class Killer:
    """Kills the worker, as the system's out-of-memory killer would, once it is `at` a step."""

    def __init__(self, at: int) -> None:
        self.at, self.killed = at, False

    def __call__(self, metrics: dict[str, Any]) -> None:
        if not self.killed and metrics["step"] > self.at:
            self.killed = True
            (process,) = [one for one in psutil.Process().children(recursive=True) if "RayTrainWorker" in _name(one)]
            process.send_signal(signal.SIGKILL)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _end(state: dict[str, Any]) -> float:
    return float(np.mean(state["curves"]["fit"]["loss"][-30:]))
