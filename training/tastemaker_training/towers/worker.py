"""The two-tower model under Ray Train: what each worker runs, and the driver's side of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.train
import ray.train.collective
import ray.train.torch
from ray.util.queue import Queue

from tastemaker_training import checkpoints, cluster
from tastemaker_training.cluster import Run
from tastemaker_training.towers import loop, stream
from tastemaker_training.towers.loop import Draws, Stage, State, Step, Task, World

TOLD_EVERY_S = 0.5


def fit(
    task: Task,
    run: Run,
    hear: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> State:
    """The last state of a fit on Ray Train workers, to which Ray Data streams their shares of the users.

    Args:
        hear: told how far rank 0 is, while it runs.
        say: told of workers that died and of what happened then.

    Raises:
        Unavailable: workers kept failing.
    """
    streamed = {stage.name: _streamed(stage, task.seed, run) for stage in task.stages}
    plan = {
        "task": ray.put(replace(task, stages=tuple(map(stream.hollow, task.stages)))),
        "chunk_users": {name: users for name, (_, users) in streamed.items()},
    }
    datasets = {name: dataset for name, (dataset, _) in streamed.items()}
    return checkpoints.load(cluster.fit(train_worker, plan, run, hear, say, datasets))


def _streamed(stage: Stage, seed: int, run: Run) -> tuple[ray.data.Dataset, int | None]:
    """A stage's rows in the object store, and nowhere else, and the users of a chunk of them."""
    table = stream.rows(stage, seed)
    return stream.dataset(table, run.hardware.most), chunk_users(table, run)


def chunk_users(table: pa.Table, run: Run) -> int | None:
    """Users of a chunk of `table`; None where even the fewest workers of the run can hold it."""
    return stream.chunk_users(table, run.hardware.fewest, int(run.settings.shard_mb * 2**20))


def train_worker(config: dict[str, Any]) -> None:
    """Entry point of a worker. `config["task"]` refers to a `Task` whose stages are hollow, `config["progress"]` to a
    queue for the driver."""
    task: Task = ray.get(config["task"])
    world = World(*cluster.place(), wrap=ray.train.torch.prepare_model, agree=_agree)
    cluster.take_threads(config["threads"])

    def draws(task: Task, stage: Stage, random: np.random.Generator) -> Draws:
        return _shard(task, stage, random, config["chunk_users"][stage.name], world.size)

    model, state = loop.fresh(task), checkpoints.last()
    teller = Teller(config["progress"], world)
    teller.started(task, state)
    for step in loop.steps(model, task, draws, state, world):
        teller.tell(step)
        if step.reached:
            checkpoints.report(step.reached, metrics(step), world.rank)


class Teller:
    """Tells the driver how far this worker is; only rank 0 speaks."""

    def __init__(self, progress: Queue, world: World) -> None:
        self._progress, self._world = progress, world
        self._told = 0.0

    def started(self, task: Task, state: State | None) -> None:
        """Say where this worker begins."""
        stage, step = (state["stage"], state["step"]) if state else (0, 0)
        if self._world.rank == 0 and stage < len(task.stages):
            cluster.tell(self._progress, cluster.Started(task.stages[stage].name, step, self._world.size))

    def tell(self, step: Step) -> None:
        """Say how far it is, a few times per second at most."""
        now = time.monotonic()
        if self._world.rank == 0 and (step.reached or now - self._told >= TOLD_EVERY_S):
            self._told = now
            cluster.tell(self._progress, metrics(step))


def metrics(step: Step) -> dict[str, Any]:
    """A step in numbers, and when this process was there: seconds by the clock and of its CPU."""
    told = {"stage": step.stage, "step": step.done, "steps": step.steps, "loss": step.loss.item()}
    return {**told, "wall_s": time.monotonic(), "cpu_s": time.process_time()}


def _shard(task: Task, stage: Stage, random: np.random.Generator, chunk_users: int | None, workers: int) -> Draws:
    shard = ray.train.get_dataset_shard(stage.name)
    if chunk_users is None:
        return loop.sampler(task, stream.filled(stage, stream.whole(shard)), random)
    return stream.Chunks(
        stream.passes(shard, chunk_users),
        lambda table: loop.sampler(task, stream.filled(stage, table), random.spawn(1)[0]),
        workers,
    )


def _agree(compute: Callable[[], float]) -> float:
    """A number that rank 0 computes and every worker knows, so that all stop together."""
    mine = compute() if ray.train.get_context().get_world_rank() == 0 else None
    return float(ray.train.collective.broadcast_from_rank_zero(mine))
