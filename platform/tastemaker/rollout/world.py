"""What the leader of rollouts works with, and what it hands back. Kubernetes and a laptop differ only in these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from tastemaker.rollout.resources import Colour, ModelRolloutSpec, ModelRolloutStatus, RecommenderStatus

if TYPE_CHECKING:  # the command line starts without them
    from redis import Redis

    from tastemaker.registry import Registry
    from tastemaker.rollout.routing import Routing


@dataclass(frozen=True)
class Readiness:
    """How a colour is."""

    ready: bool
    """It answers, deep-checked: its bundle is loaded."""
    failure: str = ""
    """Not empty: it will not become ready (crash loop, no such image), in words, with its last log line."""
    url: str = ""
    """Scheme, host and port of its Recommender; known as soon as the colour was brought up, ready or not."""


class Colours(Protocol):
    """Whoever runs the colours. Every call returns at once and may be repeated.

    Raises:
        Unavailable: what runs them does not answer; the leader says so and looks again a second later.
    """

    @property
    def template(self) -> str:
        """Hash of the present specification (image, resources …): a colour made from another one is out of date."""

    def bring_up(self, colour: Colour, version: str) -> None:
        """Make `colour` run this version (its number) by the present specification, whatever it ran before."""

    def look(self, colour: Colour) -> Readiness:
        """How the colour is now."""

    def take_down(self, colour: Colour) -> None:
        """Let the colour end."""


@dataclass(frozen=True)
class Rollout:
    """A ModelRollout of the recommender."""

    name: str
    uid: str
    created: datetime
    """UTC; of two, the older goes on."""
    spec: ModelRolloutSpec
    status: ModelRolloutStatus = field(default_factory=ModelRolloutStatus)


@dataclass(frozen=True)
class World:
    """Everything outside that one look of the leader reads and acts upon."""

    colours: Colours
    redis: Redis
    """Synchronous, with timeouts of a second or two and no retries: a look must not hang."""
    registry: Registry
    """Its HTTP client should not retry for minutes (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES)."""
    model_name: str
    """Of the registered model; a colour answers as `model_name/version`."""
    prometheus_url: str | None = None
    """Base URL; None: rollouts with `queries` are refused."""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    progress_deadline_s: float = 600.0
    drain_s: float = 10.0


@dataclass(frozen=True)
class Outcome:
    """What one look led to. Persist `recommender` first, then `rollouts`, before the next look.

    `conditions` and `observed_generation` are the caller's: they are handed back as they came.
    """

    recommender: RecommenderStatus
    rollouts: Mapping[str, ModelRolloutStatus] = field(default_factory=dict)
    """By name, only those that changed. New entries of `history` are worth an event each."""
    routing: Routing | None = None
    """What edges shall follow (Redis has it already, unless it is away); None where there is no colour yet."""


def rfc3339(moment: datetime) -> str:
    """A moment as Kubernetes writes it, e.g. 2026-01-01T12:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
