"""How the Recommender asks what runs elsewhere: within a budget, and whichever backend ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from tastemaker import config
from tastemaker.errors import Unavailable
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.overlay import Parcel, Roster, without_strangers
from tastemaker_serving.pipeline import ToRank
from tastemaker_serving.stages.rank import Ranked

PAUSE_S = 0.1
"""From a failure to the first ping, and between pings: one late answer shall not leave many slates unranked."""
PING_MS = 2000.0

T = TypeVar("T")
Rank = Callable[[ToRank, Roster], Awaitable[Ranked]]
Ping = Callable[[], Awaitable[bool]]


def of_ray(ranker: DeploymentHandle[Any]) -> tuple[Rank, Ping]:
    """How to ask the Ranker, and how to ask for its health."""
    return lambda asked, roster: ranker.remote(Parcel.of(asked, roster)), ranker.ping.remote


def of_kserve(settings: config.Settings, model_version: str) -> tuple[Rank, Ping]:
    """How to ask the KServe ranker, which knows the bundle's items only, and how to ask for its health."""
    # Imported here: KServe takes seconds and belongs to an extra of its own.
    from tastemaker_serving.kserve_client import RemoteRanker

    budget_s = settings.serving.deployments.ranker.timeout_ms / 1e3
    remote = RemoteRanker(settings.ranking, model_version, settings.serving.funnel.ranked, budget_s)
    return lambda asked, roster: remote.rank(without_strangers(asked, roster)), remote.ready


def guarded(ranks: Rank, ping: Ping, budget_ms: float) -> Rank:
    """`ranks` within its budget. When it failed it is not asked again before it answers a ping.

    A ranker that is away would else cost every batch the whole budget, and those that wait behind it their deadline.
    """
    breaker = Breaker("the ranker", lambda: _answered(ping), (Unavailable,), threshold=1, pause_s=PAUSE_S)

    async def rank(asked: ToRank, roster: Roster) -> Ranked:
        with breaker:
            return await bounded(ranks(asked, roster), budget_ms)

    return rank


async def _answered(ping: Ping) -> None:
    if not await bounded(ping(), PING_MS):
        raise Unavailable("the ranker is not ready")


async def bounded(response: Awaitable[T], budget_ms: float) -> T:
    """The answer of a hop.

    Raises:
        Unavailable: it failed, or did not come within the budget.
    """
    try:
        async with asyncio.timeout(budget_ms / 1e3):
            return await response
    except (TimeoutError, RayError, RayServeException) as error:
        raise Unavailable(f"a stage did not answer within {budget_ms:.0f} ms: {error!r}") from error
