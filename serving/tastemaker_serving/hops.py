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
from tastemaker_serving.overlay import Parcel, Roster, without_strangers
from tastemaker_serving.pipeline import ToRank
from tastemaker_serving.stages.rank import Ranked

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
