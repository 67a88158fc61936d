"""Puts the operator together and runs it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import kopf
from prometheus_client import start_http_server
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tastemaker.config import Settings
from tastemaker.embedded import connect_url
from tastemaker.registry import Registry
from tastemaker.rollout.manifests import service_url
from tastemaker.rollout.operator import Operator, Surroundings, registered, settings
from tastemaker.rollout.operator_api import Api
from tastemaker.rollout.operator_colours import Url
from tastemaker.rollout.pods import Place
from tastemaker.rollout.resources import RecommenderSpec

REDIS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Options:
    """Of `tastemaker operator run`."""

    namespace: str
    prometheus_url: str | None = None
    metrics_port: int = 0
    health_port: int = 0
    colour_url: str | None = None


def run(configured: Settings, options: Options) -> None:
    """Lead the rollouts of a namespace until SIGINT or SIGTERM.

    Raises:
        Unavailable: no API server is known.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request
    surroundings = Surroundings(
        api=Api(options.namespace),
        redis=impatient(connect_url(configured)),
        registry=Registry(configured),
        model_name=configured.model_name,
        prometheus_url=options.prometheus_url,
        url=url_of(options.colour_url) if options.colour_url else service_url,
    )
    if options.metrics_port:
        start_http_server(options.metrics_port)
    health = f"http://0.0.0.0:{options.health_port}/healthz" if options.health_port else None
    kopf.run(
        registry=registered(Operator(surroundings), surroundings.api),
        settings=settings(),
        namespaces=[options.namespace],
        standalone=True,
        liveness_endpoint=health,
    )


def impatient(url: str) -> Redis:
    """A client whose calls end within seconds: a look must not hang."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def url_of(template: str) -> Url:
    """URLs of colours by a template with {recommender} and {colour}."""

    def url(place: Place, spec: RecommenderSpec) -> str:
        return template.format(recommender=place.recommender, colour=place.colour)

    return url
