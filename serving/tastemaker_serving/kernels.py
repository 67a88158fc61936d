"""The bare kernels of a request, timed alone: what a request would cost if everything around them were free.

Run as a process of its own, `python -m tastemaker_serving.kernels BUNDLE BATCH`, on one thread; prints CPU milliseconds
per request as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tastemaker import bundle
from tastemaker.candidates import Codes, Floats
from tastemaker.config import Funnel
from tastemaker.features.cross import CROSS_FEATURES
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import TowerInputs
from tastemaker_serving import models, pipeline
from tastemaker_serving.ray_host import SWITCHES
from tastemaker_serving.stages import rank, sources

SECONDS = 1.0
"""CPU time spent on each kernel: enough for a per cent."""


def measure(bundle_path: Path, batch: int) -> dict[str, float]:
    """CPU milliseconds per request of each kernel at `batch` requests, in a process with the replicas' settings."""
    command = [sys.executable, "-m", "tastemaker_serving.kernels", str(bundle_path), str(batch)]
    done = subprocess.run(command, env=os.environ | SWITCHES, check=True, capture_output=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def time_kernels(opened: bundle.Bundle, funnel: Funnel, batch: int) -> dict[str, float]:
    """The kernels on random inputs of full length."""
    personal, retrieval = models.load_personal(opened), models.load_retrieval(opened, funnel.candidates)
    ranking = models.load_ranker(opened)
    items = len(personal.item_ids)
    profiles = _random(batch, profile_width(len(personal.vocabulary)))
    inputs = _inputs(batch, funnel.history, items, personal.user_buckets)
    users = pipeline.embed(personal, inputs, profiles)
    candidates = min(funnel.candidates, items)

    def search() -> Codes:
        return sources.two_tower(retrieval, users, sources.inner_products(retrieval, users), candidates)

    codes = search()
    ranked = min(funnel.ranked, candidates)
    scores = np.sort(_random(batch, ranked), axis=1)[:, ::-1]
    kernels: dict[str, Callable[[], object]] = {
        "user_tower": lambda: pipeline.embed(personal, inputs, profiles),
        "search": search,
        "gather": lambda: [models.rows_of(ranking.item_half, codes[rows]) for rows in rank.chunks(batch)],
        "ranker": _ranker(ranking, users, profiles, codes),
        "rerank": lambda: pipeline.rerank(personal, codes[:, :ranked], scores, funnel.slate, funnel.diversity),
    }
    return {name: _cpu_ms(kernel) / batch for name, kernel in kernels.items()}


def _ranker(model: models.RankingModel, users: Floats, profiles: Floats, codes: Codes) -> Callable[[], object]:
    """The ranking program alone, on inputs that are already there."""
    parts = [
        (
            torch.from_numpy(users[rows]),
            torch.from_numpy(profiles[rows]),
            models.rows_of(model.item_half, codes[rows]),
            torch.from_numpy(_random(*codes[rows].shape, len(CROSS_FEATURES))),
        )
        for rows in rank.chunks(len(users))
    ]

    def run() -> None:
        with torch.inference_mode():
            for part in parts:
                model.program(*part)

    return run


def _inputs(batch: int, history: int, items: int, buckets: int) -> TowerInputs:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, items, (batch, history))
    user = generator.integers(0, buckets, (batch, 2))
    return TowerInputs(codes, _random(batch, history), _random(batch, history), user, codes.astype(np.int32))


def _random(*shape: int) -> Floats:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def _cpu_ms(kernel: Callable[[], object]) -> float:
    kernel()
    runs, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        kernel()
        runs += 1
    return (time.process_time() - start) / runs * 1e3


if __name__ == "__main__":
    models.use_threads(1)
    json.dump(time_kernels(bundle.read(Path(sys.argv[1])), Funnel(), int(sys.argv[2])), sys.stdout)
