"""The three deployments as one Ray Serve application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve

from tastemaker import config
from tastemaker_serving.deployments import CandidateGenerator, Ranker, Recommender


def build_app(settings: config.Settings, bundle_path: Path, model_version: str, redis_url: str) -> serve.Application:
    """The three deployments, bound together and sized by `settings.serving`; a ranker on KServe needs none here."""
    sizes, funnel = settings.serving.deployments, settings.serving.funnel
    generator = _deployment(CandidateGenerator, sizes.candidate_generator).bind(bundle_path, settings, redis_url)
    ranker = None
    if settings.ranking.backend == "ray":
        ranker = _deployment(Ranker, sizes.ranker).bind(bundle_path, funnel, sizes.ranker.threads, redis_url)
    return _deployment(Recommender, sizes.recommender).bind(
        bundle_path, model_version, redis_url, settings, generator, ranker
    )


def _deployment(role: type, size: config.Deployment) -> serve.Deployment:
    options: dict[str, Any] = {
        "max_ongoing_requests": size.max_ongoing_requests,
        "ray_actor_options": {"num_cpus": size.num_cpus, "num_gpus": size.num_gpus},
    }
    if size.autoscaling is None:
        options["num_replicas"] = size.replicas
    else:
        options["autoscaling_config"] = size.autoscaling.model_dump()
    deployed: serve.Deployment = serve.deployment(**options)(role)
    return deployed
