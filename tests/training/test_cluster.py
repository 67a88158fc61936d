from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest
import ray.train
import torch

from tastemaker.config import Settings
from tastemaker_training import recipes
from tastemaker_training.cluster import Died, Log, Started, take_threads
from tastemaker_training.hardware import Hardware
from tastemaker_training.job import Job
from tastemaker_training.narrator import Narrator

PROGRESS = {"stage": "fit", "step": 57, "steps": 100, "loss": 1.0}


@pytest.mark.parametrize(
    ("messages", "story"),
    [
        ([Started("fit", 0, 1), PROGRESS], []),
        ([Started("fit", 40, 1)], ["an interrupted run is going on from step 40 of fit with 1 worker"]),
        (
            [Started("fit", 0, 2), PROGRESS, Died(1, "gone"), Started("fit", 40, 2)],
            ["worker 1 died at step 57 of fit (gone); going on from step 40 of fit with 2 workers"],
        ),
        (
            [Died(0, "no memory"), Started("fit", 0, 1)],
            ["worker 0 died at its start (no memory); going on from step 0 of fit with 1 worker"],
        ),
        (
            [Started("fit", 0, 1), PROGRESS, Started("fit", 50, 3)],
            ["from 1 to 3 workers; going on from step 50 of fit with 3 workers"],
        ),
    ],
)
def test_what_happened_is_told(messages: list[Any], story: list[str]) -> None:
    said: list[str] = []
    heard: list[dict[str, Any]] = []
    log = Log(heard.append, said.append)
    for message in messages:
        log.take(message)
    assert said == story
    assert heard == [message for message in messages if message is PROGRESS]


@pytest.fixture
def threads() -> Iterator[int]:
    """Those of this process, as they were before and are again."""
    found = torch.get_num_threads()
    yield found
    torch.set_num_threads(found)


def job(settings: Settings) -> Job:
    return Job(settings, recipes.smoke(), Hardware(), Narrator(quiet=True))


@pytest.mark.parametrize(("cores", "workers", "each"), [(32, 1, 31), (32, 2, 15), (2, 1, 1), (1, 4, 1)])
def test_a_worker_elsewhere_computes_with_the_cores_of_its_own_machine(
    cores: int, workers: int, each: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = job(Settings(home=tmp_path, ray_address="ray-head:6379")).threads
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_local_world_size=lambda: workers))
    take_threads(told)
    assert torch.get_num_threads() == each


def test_a_worker_of_this_machine_computes_with_what_this_process_may(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_local_world_size=lambda: 1))
    torch.set_num_threads(3)
    told = job(Settings(home=tmp_path)).threads
    torch.set_num_threads(1)
    take_threads(told)
    assert torch.get_num_threads() == 2, "one is left to Ray"
