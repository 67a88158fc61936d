"""Fitting models on Ray: a local one by default, a cluster when `ray_address` names one."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue

from tastemaker.config import Settings
from tastemaker.errors import Unavailable

ATTEMPTS_AFTER_A_FAILURE = 2
ENVIRONMENT = {
    # The logits of a step are tens of megabytes: given back to the system after each, their page faults cost more
    # than the arithmetic.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "268435456",
    # Threads that spin while they wait cost tenfold on a machine that does anything else besides.
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True)
class Hardware:
    """What a run may use."""

    workers: int = 1
    gpu: bool = False


@contextmanager
def session(settings: Settings) -> Iterator[None]:
    """A connection to Ray for the time of a run; a local one is started, and stopped at the end.

    Raises:
        Unavailable: no cluster answers at `ray_address`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray.data.context")  # Ray's own business
    local: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(
            address=settings.ray_address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": ENVIRONMENT},
            **({} if settings.ray_address else local),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise Unavailable(
            f"Ray at {settings.ray_address or 'this machine'} does not answer: {str(error)[:200]}",
            "Check RAY_ADDRESS, or unset it for a local Ray",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def fit(
    worker: Callable[[dict[str, Any]], None],
    task: Any,
    *,
    name: str,
    storage: Path,
    hardware: Hardware,
    hear: Callable[[dict[str, Any]], None],
) -> ray.train.Checkpoint:
    """Run `worker` under Ray Train until it is done; returns its last checkpoint.

    A run of the same `name` that was interrupted goes on from its last checkpoint, as does one whose worker died.

    Args:
        hear: told what rank 0 reports, while it runs.

    Raises:
        Unavailable: workers kept failing.
    """
    progress = Queue()
    trainer = TorchTrainer(
        worker,
        train_loop_config={"task": ray.put(task), "progress": progress},
        scaling_config=ray.train.ScalingConfig(num_workers=hardware.workers, use_gpu=hardware.gpu),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(storage.absolute()),
            failure_config=ray.train.FailureConfig(max_failures=ATTEMPTS_AFTER_A_FAILURE),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    with ThreadPoolExecutor(1) as background:
        running = background.submit(trainer.fit)
        while not running.done():
            try:
                hear(progress.get(timeout=0.5))
            except Empty:
                continue
        try:
            result = running.result()
        except ray.train.TrainingFailedError as error:
            raise Unavailable(
                f"training {name} failed {ATTEMPTS_AFTER_A_FAILURE + 1} times: {_cause(error)}",
                f"Workers' logs are under {storage}/{name}; the same command goes on from the last checkpoint",
            ) from error
    progress.shutdown()
    checkpoint: ray.train.Checkpoint | None = result.checkpoint
    assert checkpoint is not None, "a worker reports a checkpoint with its last step"
    return checkpoint


def _cause(error: BaseException) -> str:
    return " ".join(str(error).split())[-300:]
