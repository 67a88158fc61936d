"""What Ray costs: the same fit in a bare PyTorch loop and on Ray Train workers, over the same arrays.

Each run is a process of its own (the bare one, too), with the same threads, allocator and code (`loop.steps`). Examples
per second are counted by the training process between its first message after WARM_UP steps and its last one: start-up,
the loading of the shard and warm-up are left out; validations and the writing of checkpoints, which the bare loop does
not do, are in. CPU seconds are those of the training process over the same steps.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.training import Training
from tastemaker_training import recipes
from tastemaker_training.checkpoints import Storage
from tastemaker_training.cluster import SPARED, Run
from tastemaker_training.data import Data
from tastemaker_training.dataset import category_matrix
from tastemaker_training.hardware import Hardware
from tastemaker_training.interactions import Interactions, Ints, Split, split_by_time
from tastemaker_training.recipes import Recipe
from tastemaker_training.towers import loop, worker
from tastemaker_training.towers.loop import State, Task
from tastemaker_training.towers.stage import tower_task
from tastemaker_training.towers.worker import metrics

WARM_UP = 40  # steps
TAIL = 50  # steps whose mean loss is the end of a curve
POINTS = 8  # of a curve that is shown
VALIDATIONS = 4
EVENTS_PER_USER = 40
SECONDS_BETWEEN = 60
TASTES = 20
PROFILE = 8

Told = dict[str, Any]


@dataclass(frozen=True)
class Fit:
    """One run."""

    examples_per_s: float
    examples_per_cpu_s: float
    seconds: float  # with start-up
    loss: float  # mean of the last TAIL steps
    loss_error: float  # standard error of that mean
    score: float  # of the last validation
    curve: list[tuple[int, float]]  # (step, mean loss since the point before)


@dataclass(frozen=True)
class Result:
    """Ray beside the bare loop, and two workers beside one."""

    batch: int
    steps: int
    bare: Fit
    bare_again: Fit
    ray_1: Fit
    ray_2: Fit
    ratio: float  # examples/s of Ray with one worker over the mean of both bare runs
    cpu_ratio: float  # the same by examples per CPU-second
    workers_difference: float  # loss at the end, two workers minus one
    seed_difference: float  # the same by another seed of the bare loop: what is noise


def run(users: int, items: int, steps: int, tell: Callable[[str], None]) -> Result:
    """Measure: bare, Ray with one worker, bare again (another seed, and the machine may be slower), Ray with two."""
    task = synthetic_task(users, items, steps)
    tell("bare loop")
    bare = _bare(task)
    tell("Ray Train, 1 worker")
    one = _on_ray(task, 1)
    tell("bare loop again")
    again = _bare(replace(task, seed=task.seed + 1))
    tell("Ray Train, 2 workers")
    two = _on_ray(task, 2)
    return Result(
        batch=task.recipe.batch,
        steps=steps,
        bare=bare,
        bare_again=again,
        ray_1=one,
        ray_2=two,
        ratio=2 * one.examples_per_s / (bare.examples_per_s + again.examples_per_s),
        cpu_ratio=2 * one.examples_per_cpu_s / (bare.examples_per_cpu_s + again.examples_per_cpu_s),
        workers_difference=two.loss - one.loss,
        seed_difference=again.loss - bare.loss,
    )


def synthetic_task(users: int, items: int, steps: int) -> Task:
    """A fit of `steps` steps to users who each like two of some tastes: something to learn, of any size."""
    recipe = recipes.default()
    random = np.random.default_rng(recipe.seed)
    taste = np.sort(random.integers(TASTES, size=items))
    first, count = np.searchsorted(taste, np.arange(TASTES)), np.bincount(taste, minlength=TASTES)
    liked = random.integers(TASTES, size=(users, 2))
    now = np.where(random.random((users, EVENTS_PER_USER)) < 0.5, liked[:, :1], liked[:, 1:])
    # Within a taste few items are popular and many are not.
    codes = first[now] + (random.random(now.shape) ** 3 * count[now]).astype(np.int64)
    interactions = Interactions(
        user_ids=[f"user-{user}" for user in range(users)],
        item_ids=[f"item-{item}" for item in range(items)],
        offsets=np.arange(users + 1) * EVENTS_PER_USER,
        items=codes.ravel(),
        preferences=np.ones(codes.size, dtype=np.float32),
        timestamps=np.arange(codes.size) * SECONDS_BETWEEN,
    )
    task = tower_task(_data(interactions, taste, recipe), recipe)
    stage = replace(task.stages[0], steps=steps, validate_every=max(1, steps // VALIDATIONS))
    return replace(task, recipe=replace(task.recipe, patience=VALIDATIONS), stages=(stage,))


def _data(interactions: Interactions, taste: Ints, recipe: Recipe) -> Data:
    names = [f"taste-{number}" for number in range(TASTES)]
    rows = [{"item_id": item, "title": item, "categories": [names[t]], "release_year": 2000, "text": ""} for item, t in
            zip(interactions.item_ids, taste, strict=True)]  # fmt: skip
    catalogue = pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)
    profiles = np.zeros((len(interactions.items) + 1, PROFILE), dtype=np.float32)
    profiles[-1, 0] = 1.0  # the flag of missing features
    split = split_by_time(interactions, recipe.validation)
    window = (datetime.fromtimestamp(0, UTC), datetime.fromtimestamp(int(interactions.timestamps[-1]), UTC))
    everything = Split(interactions, interactions, np.ones(len(interactions.items), dtype=bool))
    return Data(
        items=catalogue,
        vocabulary=names,
        categories=category_matrix(catalogue, names),
        window=window,
        split=everything,
        inner=split,
        profiles=profiles,
        countries=(None,) * len(interactions.user_ids),
    )


def _bare(task: Task) -> Fit:
    start = time.monotonic()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        state, told = process.submit(bare_loop, task, _threads()).result()
    return _measured(task, state, told, time.monotonic() - start)


def bare_loop(task: Task, threads: int) -> tuple[State, list[Told]]:
    """The fit in this process, and how far it was when."""
    told: list[Told] = []
    torch.set_num_threads(threads)
    return loop.fit(task, lambda step: told.append(metrics(step))), told


def _threads() -> int:
    """Of every run: those of `tastemaker train` on this machine."""
    return max(1, torch.get_num_threads() - SPARED)


def _on_ray(task: Task, workers: int) -> Fit:
    start, told = time.monotonic(), list[Told]()
    hardware = Hardware(workers, workers)
    connected = ray_session.session(Settings(), hardware.most)
    with tempfile.TemporaryDirectory(prefix="tastemaker-bench-") as folder, connected:
        state = worker.fit(task, Run("bench", Storage(folder), hardware, Training(), _threads()), told.append, print)
    return _measured(task, state, told, time.monotonic() - start)


def _measured(task: Task, state: State, told: list[Told], seconds: float) -> Fit:
    first, last = next(one for one in told if one["step"] > WARM_UP), told[-1]
    examples = (last["step"] - first["step"]) * task.recipe.batch
    curve = state["curves"][task.stages[0].name]
    losses = np.array(curve["loss"])
    bounds = np.linspace(0, len(losses), POINTS + 1).astype(int)
    points = [(int(end), float(losses[start:end].mean())) for start, end in pairwise(bounds)]
    return Fit(
        examples_per_s=examples / (last["wall_s"] - first["wall_s"]),
        examples_per_cpu_s=examples / (last["cpu_s"] - first["cpu_s"]),
        seconds=seconds,
        loss=float(losses[-TAIL:].mean()),
        loss_error=float(losses[-TAIL:].std(ddof=1) / np.sqrt(len(losses[-TAIL:]))),
        score=curve["score"][-1][1],
        curve=points,
    )
