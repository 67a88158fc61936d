"""The recommender of a bundle in one process, for batch work: its deployments without Ray Serve between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from ray.serve.handle import DeploymentHandle

from tastemaker.config import Settings
from tastemaker.errors import Unavailable
from tastemaker_serving import wire
from tastemaker_serving.deployments import CandidateGenerator, Ranker, Recommender
from tastemaker_serving.replica import Replica

PATIENCE_MS: Final = 60_000
"""Of each stage for one batch: nobody waits for a page."""


class InProcess(Replica):
    """Answers queries exactly as the same bundle does behind the edge, but for deadlines."""

    def __init__(self, settings: Settings, bundle_path: Path, model_version: str, redis_url: str) -> None:
        super().__init__()
        patient = _patient(settings)
        generator, ranker = CandidateGenerator(bundle_path, patient, redis_url), None
        self.ends(generator.close)
        if patient.ranking.backend == "ray":
            serving = patient.serving
            ranker = Ranker(bundle_path, serving.funnel, serving.deployments.ranker.threads, redis_url)
            self.ends(ranker.close)
        handles = _here(generator), None if ranker is None else _here(ranker)
        self._recommender = Recommender(bundle_path, model_version, redis_url, patient, *handles)
        self._loop = asyncio.Runner()  # one for all batches: the connections to Redis belong to it
        self.ends(self._recommender.close, self._loop.close)

    def slates(self, queries: Sequence[wire.Query]) -> list[wire.RankedSlate]:
        """The slates of a batch, in the order of its queries.

        Raises:
            Unavailable: a stage failed, so that the slates are not what they should be.
        """
        answer = self._loop.run(self._recommender.recommend(queries))
        failed = dict.fromkeys([*answer.degraded, *(name for slate in answer.slates for name in slate.degraded)])
        if failed:
            raise Unavailable(f"slates came out degraded: {', '.join(failed)}", "Check Redis and the logs")
        return answer.slates


def _here(role: CandidateGenerator | Ranker) -> DeploymentHandle[Any]:
    """A deployment of this process, with the face of a handle."""
    return cast("DeploymentHandle[Any]", SimpleNamespace(remote=role.__call__, ping=SimpleNamespace(remote=role.ping)))


def _patient(settings: Settings) -> Settings:
    """The same settings with time for every stage."""
    serving = settings.serving
    stages = {
        name: getattr(serving.deployments, name).model_copy(update={"timeout_ms": PATIENCE_MS})
        for name in type(serving.deployments).model_fields
    }
    patient = serving.model_copy(
        update={
            "deployments": serving.deployments.model_copy(update=stages),
            "sources": serving.sources.model_copy(update={"budget_ms": PATIENCE_MS, "budgets_ms": {}}),
        }
    )
    return settings.model_copy(update={"serving": patient})
