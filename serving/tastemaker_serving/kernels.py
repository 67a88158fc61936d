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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tastemaker import bundle, scenes
from tastemaker.candidates import ALS, CONTENT, ITEM_TO_ITEM, Codes, Floats, most_voted, places, shares_of
from tastemaker.config import Funnel, Settings
from tastemaker.features import cross
from tastemaker.features.profile import profile_width
from tastemaker.features.tower_inputs import TowerInputs
from tastemaker.ray_env import SWITCHES
from tastemaker.retrieval import Wanted, search_als, search_content, votes
from tastemaker.space import rows_of, search
from tastemaker_serving import models
from tastemaker_serving.stages import rank, user_tower
from tastemaker_serving.stages.rules import effects
from tastemaker_serving.stages.slate import Arranged, Listed, arrange

SECONDS = 1.0
"""CPU time spent on each kernel: enough for a few per cent."""
ROUNDS = 8
"""Batches of other users and items that take turns, as requests do: one batch again and again would live in the
processor's cache, where no request finds its rows."""


@dataclass(frozen=True)
class Round:
    """The inputs of every kernel for one batch of B users."""

    inputs: TowerInputs
    profiles: Floats  # (B, P)
    users: Floats  # (B, D)
    codes: Codes  # (B, C) candidates
    signals: Floats  # (S, B, C) what the sources say of the candidates
    scores: Floats  # (B, R) best first
    ranker: Sequence[tuple[torch.Tensor, ...]]  # the program's arguments, pass by pass

    @property
    def wanted(self) -> Wanted:
        """What the searches are asked."""
        history, none = self.inputs.history.astype(np.int32), np.zeros(len(self.users), dtype=np.int32)
        nothing = np.empty((len(self.users), 0), dtype=np.int32)
        return Wanted(self.users, history, self.inputs.preference, none - 1, self.inputs.seen, nothing, none, none)


def measure(bundle_path: Path, batch: int) -> dict[str, float]:
    """CPU milliseconds per request of each kernel at `batch` requests, in a process with the replicas' settings."""
    command = [sys.executable, "-m", "tastemaker_serving.kernels", str(bundle_path), str(batch)]
    done = subprocess.run(command, env=os.environ | SWITCHES, check=True, capture_output=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def time_kernels(opened: bundle.Bundle, funnel: Funnel, batch: int) -> dict[str, float]:
    """CPU milliseconds per request of each kernel, on random inputs of full length."""
    personal, model = models.load_personal(opened), models.load_retrieval(opened, funnel.candidates)
    ranking = models.load_ranker(opened, funnel.head_weights)
    home = scenes.load(Settings())[scenes.HOME]
    shares, limit = shares_of(home.sources), funnel.candidates

    def searches(one: Round) -> list[Codes]:
        asked = one.wanted
        return [
            search(model.two_tower, one.users, asked.seen).nearest(limit),
            search_als(model, asked).nearest(places(shares, ALS, limit)),
            search_content(model, asked).nearest(places(shares, CONTENT, limit)),
        ]

    def item_to_item(one: Round) -> Codes:
        lasting, _ = votes(model, one.wanted)
        return most_voted(lasting, places(shares, ITEM_TO_ITEM, limit))

    def gather(codes: Codes) -> list[torch.Tensor]:
        return [rows_of(ranking.item_half, codes[rows]) for rows in rank.chunks(batch)]

    def score(passes: Sequence[tuple[torch.Tensor, ...]]) -> None:
        with torch.inference_mode():
            for arguments in passes:
                rank.score(ranking, *arguments)

    def rerank(codes: Codes, scores: Floats) -> Arranged:
        nothing = np.empty((batch, 0), dtype=np.int32)
        listed = Listed(codes, scores, nothing, nothing, nothing[0])
        no_rules, lengths = effects((), personal.attributes), [funnel.slate] * batch
        return arrange(home, no_rules, personal.attributes, personal.unit_vectors, listed, lengths, now=0)

    rounds = [_round(personal, funnel, gather, seed, batch) for seed in range(ROUNDS)]
    kernels: dict[str, Callable[[Round], object]] = {
        "user_tower": lambda one: user_tower.embed(personal.tower, one.inputs, one.profiles),
        "search": searches,
        "item_to_item": item_to_item,
        "gather": lambda one: gather(one.codes),
        "cross": lambda one: cross.cross_features(one.signals, one.codes >= 0),
        "ranker": lambda one: score(one.ranker),
        "rerank": lambda one: rerank(one.codes[:, : one.scores.shape[1]], one.scores),
    }
    return {name: _cpu_ms(kernel, rounds) / batch for name, kernel in kernels.items()}


def _round(
    model: models.Personal,
    funnel: Funnel,
    gather: Callable[[Codes], list[torch.Tensor]],
    seed: int,
    batch: int,
) -> Round:
    random = np.random.default_rng(seed)
    history = random.integers(0, len(model.item_ids), (batch, funnel.history))
    preference, age = random.random((2, batch, funnel.history), dtype=np.float32)
    user = random.integers(0, model.user_buckets, (batch, 2))
    inputs = TowerInputs(history, preference, age, user, history.astype(np.int32))
    profiles = random.random((batch, profile_width(len(model.vocabulary))), dtype=np.float32)
    users = user_tower.embed(model.tower, inputs, profiles)
    candidates = min(funnel.candidates, len(model.item_ids))
    codes = random.integers(0, len(model.item_ids), (batch, candidates)).astype(np.int32)
    scores = -np.sort(-random.random((batch, min(funnel.ranked, codes.shape[1])), dtype=np.float32), axis=1)
    features = torch.from_numpy(random.random((*codes.shape, len(cross.CROSS_FEATURES)), dtype=np.float32))
    passes = [
        (torch.from_numpy(users[rows]), torch.from_numpy(profiles[rows]), halves, features[rows])
        for rows, halves in zip(rank.chunks(batch), gather(codes), strict=True)
    ]
    signals = random.random((len(cross.SIGNALS), *codes.shape), dtype=np.float32)
    return Round(inputs, profiles, users, codes, signals, scores, passes)


def _cpu_ms(kernel: Callable[[Round], object], rounds: Sequence[Round]) -> float:
    for one in rounds:
        kernel(one)
    runs, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        kernel(rounds[runs % len(rounds)])
        runs += 1
    return (time.process_time() - start) / runs * 1e3


if __name__ == "__main__":
    models.use_threads(1)
    json.dump(time_kernels(bundle.read(Path(sys.argv[1])), Funnel(), int(sys.argv[2])), sys.stdout)
