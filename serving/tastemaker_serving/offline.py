"""The pipeline in one process, asked about the past: what an evaluation evaluates is what would be served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import threadpoolctl
import torch

from tastemaker import scenes
from tastemaker.bundle import Bundle
from tastemaker.candidates import Codes, Floats, Proposals, by_turns, pick, shares_of
from tastemaker.config import Funnel, Settings
from tastemaker.replay import Replay, foremost
from tastemaker.scenes import Scenes
from tastemaker_serving import models
from tastemaker_serving.models import Personal
from tastemaker_serving.pipeline import Requests, StageClock, Steps, ToRank, local_steps, recommend
from tastemaker_serving.stages.rank import Ranked

BATCH = 32
TIMED = 200
"""Requests that are asked again, one by one, for the CPU time of each."""


def replay(
    bundle: Bundle,
    settings: Settings,
    user_ids: Sequence[str],
    trails: Sequence[npt.NDArray[np.void]],
    profiles: Floats,
    now: int,
    n: int,
) -> Replay:
    """What serving would answer to B users in the scene `home`, all stages in this process.

    Args:
        trails: of the same users, oldest first (`features.trail.Trail`). profiles: (B, P) of the same users.
        now: time of the requests in seconds since 1970.
        n: places of a slate.
    """
    funnel, declared = settings.serving.funnel, scenes.load(settings)
    personal, model = models.load_personal(bundle), models.load_retrieval(bundle, funnel.candidates)
    ranking = models.load_ranker(bundle, funnel.head_weights)
    steps = local_steps(model, ranking, funnel, {scenes.HOME: shares_of(declared[scenes.HOME].sources)})
    nothing, asked = np.empty((len(user_ids), 0), dtype=np.int32), [scenes.HOME] * len(user_ids)
    whole = Requests(user_ids, trails, profiles, nothing, now, [n] * len(user_ids), asked)
    seen = _Seen.nothing(bundle.manifest.items)
    slates = np.full((len(user_ids), n), -1, dtype=np.int32)
    for start in range(0, len(user_ids), BATCH):
        rows = slice(start, start + BATCH)
        codes = _slates(_part(whole, rows), personal, seen.watching(steps), funnel, declared)
        slates[rows, : codes.shape[1]] = codes
    cpu_ms = []
    with one_thread():
        for user in range(min(TIMED, len(user_ids))):
            began = time.process_time()
            _slates(_part(whole, slice(user, user + 1)), personal, steps, funnel, declared)
            cpu_ms.append((time.process_time() - began) * 1e3)
    return Replay(slates, seen.proposed, seen.reached, seen.ranked, np.array(cpu_ms))


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a replica: beyond one, threads that wait for a busy machine are counted as work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Seen:
    """Items that came by, (N,) each."""

    proposed: npt.NDArray[np.bool_]
    reached: npt.NDArray[np.bool_]
    ranked: npt.NDArray[np.bool_]

    @classmethod
    def nothing(cls, items: int) -> _Seen:
        return cls(*(np.zeros(items, dtype=bool) for _ in range(3)))

    def watching(self, steps: Steps) -> Steps:
        """The same steps, whose items are marked here."""

        async def rank_and_mark(asked: ToRank) -> Ranked:
            ranked = await steps.rank(asked)
            proposals = Proposals(asked.candidates.codes, asked.candidates.source)
            for marks, codes in (
                (self.proposed, proposals.codes),
                (self.reached, by_turns(proposals, foremost(len(self.reached)))),
                (self.ranked, pick(proposals.codes, ranked.places, -1)),
            ):
                marks[codes[codes >= 0]] = True
            return ranked

        return Steps(steps.generate, rank_and_mark)


def _part(requests: Requests, rows: slice) -> Requests:
    return Requests(
        requests.user_ids[rows],
        requests.trails[rows],
        requests.profiles[rows],
        requests.excluded[rows],
        requests.now,
        requests.lengths[rows],
        requests.scenes[rows],
    )


def _slates(requests: Requests, personal: Personal, steps: Steps, funnel: Funnel, declared: Scenes) -> Codes:
    return asyncio.run(recommend(requests, personal, steps, funnel, declared, StageClock())).codes
