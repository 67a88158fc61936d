"""Fitting models on Ray: a local one by default, a cluster when `ray_address` names one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import joblib  # type: ignore[import-untyped]
import ray
import ray.data
import ray.exceptions
import ray.train
import torch
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue
from rich.markup import escape

from tastemaker.errors import Unavailable
from tastemaker.training import Training
from tastemaker_training.checkpoints import Storage
from tastemaker_training.hardware import Hardware

TOUCHED_EVERY_S = 3600.0
SPARED = 1
"""Processors left to Ray's own processes: threads that wait for one another lose more to them than one of them adds."""
START_S = 60.0
"""How long Ray Train waits for the place of its workers before it counts a failure."""


@dataclass(frozen=True)
class Run:
    """A fit as Ray Train sees it."""

    name: str
    storage: Storage
    hardware: Hardware
    settings: Training
    threads: int | None = None  # of the machine, where it is the driver's; None: workers count the cores of theirs


@dataclass(frozen=True)
class Started:
    """Workers began, at the beginning or from a checkpoint."""

    stage: str
    step: int
    workers: int


@dataclass(frozen=True)
class Died:
    """A worker is gone, or raised an error."""

    rank: int
    cause: str


def fit(
    worker: Callable[[dict[str, Any]], None],
    plan: Mapping[str, Any],
    run: Run,
    hear: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
    datasets: Mapping[str, ray.data.Dataset] | None = None,
) -> ray.train.Checkpoint:
    """Run `worker` under Ray Train until it is done; returns its last checkpoint.

    A run that was interrupted goes on from its last checkpoint when it is asked for again, as does one whose worker
    died.

    Args:
        plan: what each worker is told, beside the queue `progress` and `threads`.
        hear: told what rank 0 tells, while it runs.
        say: told of workers that died and of what happened then.
        datasets: sharded to the workers.

    Raises:
        Unavailable: workers kept failing.
    """
    settings, storage, progress = run.settings, run.storage, Queue()
    second: Any = ray.train  # Ray annotates the classes of its first version and runs those of its second
    trainer = TorchTrainer(
        worker,
        train_loop_config={**plan, "progress": progress, "threads": run.threads},
        scaling_config=second.ScalingConfig(
            num_workers=run.hardware.workers,
            use_gpu=run.hardware.gpu,
            elastic_resize_monitor_interval_s=settings.resize_interval_s,
        ),
        run_config=second.RunConfig(
            name=run.name,
            storage_path=storage.path,
            storage_filesystem=storage.filesystem,
            failure_config=second.FailureConfig(
                max_failures=settings.failures, controller_failure_limit=math.ceil(settings.room_wait_s / START_S)
            ),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=[Coroner(progress)],
        ),
        datasets=dict(datasets or {}),
    )
    log = Log(hear, say)
    with ThreadPoolExecutor(1) as background:
        running = background.submit(trainer.fit)
        _listen(progress, running, log, storage)
        try:
            result = running.result()
        except ray.train.TrainingFailedError as error:
            raise _failure(run, error) from error
    progress.shutdown()
    checkpoint: ray.train.Checkpoint | None = result.checkpoint
    assert checkpoint is not None, "a worker reports a checkpoint with its last step"
    return checkpoint


class Coroner(ray.train.UserCallback):
    """Runs beside Ray Train's controller, which alone learns how a worker died."""

    def __init__(self, progress: Queue) -> None:
        self._progress = progress

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Pass on who is gone, or else who failed: those who wait for a worker that is gone fail, too."""
        gone = {rank: error for rank, error in worker_exceptions.items() if _is_gone(error)}
        rank, error = min((gone or worker_exceptions).items(), key=itemgetter(0))
        tell(self._progress, Died(rank, _cause(error)))


class Log:
    """Makes a story of what the workers tell: who died when, and where the others went on."""

    def __init__(self, hear: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> None:
        self._hear, self._say = hear, say
        self._last: dict[str, Any] | None = None
        self._died: Died | None = None
        self._workers = 0

    def take(self, told: Started | Died | dict[str, Any]) -> None:
        """Take the next message in."""
        if isinstance(told, Died):
            self._died = told
        elif isinstance(told, Started):
            self._started(told)
        else:
            self._last = told
            self._hear(told)

    def _started(self, told: Started) -> None:
        workers = f"{told.workers} worker{'s' * (told.workers > 1)}"
        onward = f"going on from step {told.step} of {told.stage} with {workers}"
        if self._died:
            at = f"step {self._last['step']} of {self._last['stage']}" if self._last else "its start"
            self._say(f"worker {self._died.rank} died at {at} ({escape(self._died.cause)}); {onward}")
        elif self._workers:
            self._say(f"from {self._workers} to {workers}; {onward}")
        elif told.step:
            self._say(f"an interrupted run is {onward}")
        self._died, self._workers = None, told.workers


def tell(progress: Queue, message: Started | Died | dict[str, Any]) -> None:
    """Send `message` to the driver, without waiting for it to arrive."""
    actor: Any = progress.actor
    actor.put_nowait.remote(message)


def place() -> tuple[int, int]:
    """On a worker: its rank, and how many there are."""
    context = ray.train.get_context()
    return context.get_world_rank(), context.get_world_size()


def take_threads(machine: int | None) -> None:
    """On a worker: compute with its share of the machine's threads.

    Ray asks for one core for each worker, whatever it computes with, and leaves it one thread. How many there are the
    worker's own process knows: those that it may run on, within the quota of its container.

    Args:
        machine: threads of the machine for all its workers; None: as many as cores, but SPARED.
    """
    whole = machine or joblib.cpu_count() - SPARED
    torch.set_num_threads(max(1, whole // ray.train.get_context().get_local_world_size()))


def _listen(progress: Queue, running: Future[Any], log: Log, storage: Storage) -> None:
    touched = time.monotonic()
    while True:
        ended = running.done()
        try:
            log.take(progress.get(timeout=0.5))
        except Empty:
            if ended:
                return
        if time.monotonic() - touched > TOUCHED_EVERY_S:
            touched = time.monotonic()
            with suppress(Exception):  # of whatever store: a run does not end for it, and the next one is soon
                storage.touch()


def _failure(run: Run, error: ray.train.TrainingFailedError) -> Unavailable:
    onward = "the same command goes on from the last checkpoint"
    if isinstance(error, ray.train.ControllerError):
        first, _, _ = " ".join(str(error.controller_failure).split()).partition(". ")
        return Unavailable(
            f"the workers of {run.name} cannot be started: {first[:300]}",
            f"Look what the cluster lacks (`ray status`); {onward}",
        )
    return Unavailable(
        f"training {run.name} failed {run.settings.failures + 1} times: {_cause(error)}",
        f"Workers' logs are under {run.storage.url}/{run.name}; {onward}",
    )


def _is_gone(error: BaseException) -> bool:
    # What Ray Train found when it looked after a worker is wrapped in an error of its own.
    return isinstance(getattr(error, "health_check_failure", error), ray.exceptions.RayActorError)


def _cause(error: BaseException) -> str:
    if _is_gone(error):
        return "its process is gone: killed, out of memory, or its machine lost"
    return (str(error).strip() or type(error).__name__).splitlines()[-1][-300:]
