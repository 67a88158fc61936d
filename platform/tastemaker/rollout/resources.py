"""The custom resources, as people write them and `kubectl` shows them. The CRDs are generated from these models.

A `Recommender` says how the models are run; the chart makes it. A `ModelRollout` says which version shall replace the
one that is served, and how carefully; people make it. Both work with two colours, blue and green: one serves, the other
is idle or being tried.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

GROUP = "tastemaker.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, Colour] = ("blue", "green")

Provider = Literal["builtin", "kuberay"]
Action = Literal["Run", "Pause", "Promote", "Abort"]
Phase = Literal[
    "Pending", "Preparing", "Warming", "Shadow", "Progressing", "Paused",
    "Promoting", "Completed", "RollingBack", "RolledBack", "Failed",
]  # fmt: skip
FINAL: tuple[Phase, ...] = ("Completed", "RolledBack", "Failed")

Duration = Annotated[str, Field(pattern=r"^[0-9]{1,6}(s|m|h)$", description="A time such as 30s, 10m or 1h")]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[int, Field(ge=1, le=100)]
Raw = dict[str, Any]
"""A part of Kubernetes' own API, passed on as it is (its schema is the API server's business)."""

UNITS = {"s": 1, "m": 60, "h": 3600}
PINNED = r"^\S+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[a-f0-9]{64})$"
"""An image with a tag or a digest."""
LONGEST_NAME = 40
"""Characters of a Recommender's name: the names of its colours' objects go on from it and must fit into a label."""


def seconds(duration: str) -> int:
    """A `Duration` in seconds."""
    return int(duration[:-1]) * UNITS[duration[-1]]


def _refuse_unless(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)


class Resource(BaseModel):
    """A part of a custom resource: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


# -- Recommender -------------------------------------------------------------------------------------------------------


class Autoscaling(Resource):
    """Bounds between which Ray Serve chooses the number of replicas."""

    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(4, ge=1)
    target_ongoing_requests: float = Field(2.0, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_unless(self.max_replicas >= self.min_replicas, "maxReplicas must not be below minReplicas")
        return self


class Role(Resource):
    """One Ray Serve deployment (Recommender, CandidateGenerator or Ranker); the three scale apart."""

    replicas: int = Field(1, ge=1, description="Number of replicas; ignored with `autoscaling`")
    autoscaling: Autoscaling | None = None
    cpus: float = Field(0.2, ge=0, description="CPUs that Ray reserves for a replica")
    gpus: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica")


class Placement(Resource):
    """Where pods run and what they may use."""

    resources: Raw = Field(default_factory=dict, description="Requests and limits of the container")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[Raw] = Field(default_factory=list)
    affinity: Raw = Field(default_factory=dict)
    topology_spread_constraints: list[Raw] = Field(default_factory=list)
    annotations: dict[str, str] = Field(default_factory=dict, description="Annotations of the pods")


class WorkerGroup(Placement):
    """Ray workers beside the head; a group with GPUs takes the replicas that ask for them."""

    name: Name
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(1, ge=1, description="Above `minReplicas` the group scales with its load")
    gpus: int = Field(0, ge=0, description="GPUs of each worker (nvidia.com/gpu)")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_unless(self.max_replicas >= self.min_replicas, "maxReplicas must not be below minReplicas")
        return self


class RecommenderSpec(Resource):
    """How the models are run. Any change is carried out through the idle colour."""

    image: str = Field(
        min_length=1, max_length=512, description="Image of Tastemaker; a tag or digest other than `latest`"
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[Raw] = Field(default_factory=list)
    service_account: str = Field("default", description="ServiceAccount of the pods; they need no API access")
    provider: Provider = Field("builtin", description="Who runs Ray: plain Deployments, or KubeRay's RayService")
    env: list[Raw] = Field(default_factory=list, description="Variables of the pods, as in a container")
    env_from: list[Raw] = Field(default_factory=list, description="ConfigMaps and Secrets with further variables")
    recommender: Role = Role()
    candidate_generator: Role = Role()
    ranker: Role = Role()
    head: Placement = Placement()
    workers: list[WorkerGroup] = Field(default_factory=list, max_length=16)
    progress_deadline: Duration = Field("10m", description="A colour that is not ready by then is given up")
    drain: Duration = Field("10s", description="From a colour's last request to its end")

    @model_validator(mode="after")
    def _image_is_pinned_and_env_named(self) -> Self:
        _refuse_unless(
            re.match(PINNED, self.image) is not None and not self.image.endswith(":latest"),
            "image must have a tag other than latest, or a digest",
        )
        _refuse_unless(all(isinstance(one.get("name"), str) for one in self.env), "each variable of env needs a name")
        return self


class ActiveColour(Resource):
    """The colour that serves."""

    colour: Colour
    version: str = Field(description="Number of the model version in the registry")
    template: str = Field(description="Hash of the specification that its pods were made from")


class Update(Resource):
    """A colour that is brought up because there is none yet, or because the specification changed."""

    colour: Colour
    version: str
    template: str
    phase: Literal["Preparing", "Warming", "Promoting", "Draining", "Failed"]
    since: str
    message: str = ""


class Condition(Resource):
    """A standard condition (`kubectl wait --for=condition=Ready`)."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str = Field(description="When `status` last changed (RFC 3339)")
    observed_generation: int = 0


class RecommenderStatus(Resource):
    """Written by the operator alone."""

    phase: Literal["WaitingForModel", "Starting", "Ready", "Updating", "RollingOut", "Failed"] = "Starting"
    message: str = ""
    active: ActiveColour | None = None
    update: Update | None = None
    rollout: str | None = Field(None, description="ModelRollout under way")
    observed_generation: int = 0
    conditions: list[Condition] = Field(default_factory=list)


# -- ModelRollout ------------------------------------------------------------------------------------------------------


OFF = "`false` leaves it out, as `null` does, which `kubectl apply` (without --server-side) does not pass on"


class Shadow(Resource):
    """Copies of real requests go to the new colour; nobody sees its answers."""

    enabled: bool = Field(True, description=OFF)
    share: Percent = Field(20, description="Per cent of the requests that are copied")
    duration: Duration = "1m"


class Step(Resource):
    """A share of the users, for a time."""

    weight: Percent = Field(description="Per cent of the users who get the new colour")
    duration: Duration = "10m"


class Guardrails(Resource):
    """Bounds on the new colour, measured by the edges themselves, without Prometheus. Beyond one, it is rolled back."""

    max_error_share: Share = Field(0.01, description="Requests that the colour failed to answer")
    max_fallback_share: Share = Field(0.05, description="Slates from a lower rung of the fallback ladder than `ranked`")
    max_p99_milliseconds: float = Field(
        400, gt=0, alias="maxP99Milliseconds", description="99th percentile of its answers"
    )
    min_coverage: Share = Field(0, description="Share of the catalogue that its slates show, judged at a step's end")
    min_requests: int = Field(100, ge=1, description="A step with fewer requests is not left")


class ClickThrough(Resource):
    """The comparison of click-through per user between the colours, valid at every look."""

    enabled: bool = Field(True, description=OFF)
    max_loss: Share = Field(
        0.05,
        description="Largest relative loss, over all users, that a step may put at risk: it is entered once the step "
        "before has ruled out a larger one",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the whole rollout, divided among its steps")
    min_users: int = Field(100, ge=2, description="Users of each colour before anything is concluded")


class Query(Resource):
    """A Prometheus query with a condition; `$colour` in it is replaced by the new colour's name."""

    name: Name
    query: str = Field(min_length=1, max_length=4096)
    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        _refuse_unless(self.max is not None or self.min is not None, "a query needs max, min or both")
        return self


class ModelRolloutSpec(Resource):
    """Which version shall be served, and how carefully it is tried."""

    recommender: Name = Field("tastemaker", description="Name of the Recommender")
    model: str = Field(
        "challenger", min_length=1, max_length=255, description="Version number or alias in the model registry"
    )
    action: Action = Field("Run", description="Pause holds, Run goes on, Promote skips what is left, Abort ends it")
    shadow: Shadow | None = Shadow()
    steps: list[Step] = Field(
        default_factory=lambda: [Step(weight=weight) for weight in (1, 5, 25, 50, 100)], min_length=1, max_length=20
    )
    guardrails: Guardrails = Guardrails()
    click_through: ClickThrough | None = ClickThrough()
    queries: list[Query] = Field(default_factory=list, max_length=20)

    @field_validator("shadow", "click_through")
    @classmethod
    def _off_is_none(cls, part: Shadow | ClickThrough | None) -> Shadow | ClickThrough | None:
        return part if part is not None and part.enabled else None

    @model_validator(mode="after")
    def _weights_grow(self) -> Self:
        weights = [step.weight for step in self.steps]
        _refuse_unless(weights == sorted(set(weights)), "weights of the steps must grow from step to step")
        return self


class Transition(Resource):
    """A change of phase or step, with its reason."""

    phase: Phase
    step: int
    reason: str
    message: str
    time: str


class ModelRolloutStatus(Resource):
    """Written by the operator alone: all that it knows of the rollout, so that it may be restarted at any time."""

    phase: Phase = "Pending"
    step: int = Field(0, description="Index of the step, from 0")
    weight: int = Field(0, description="Per cent of the users who get the new colour now")
    version: str | None = Field(None, description="Number of the version that `model` named when the rollout began")
    previous_version: str | None = None
    colour: Colour | None = Field(None, description="The new colour")
    template: str | None = Field(None, description="Hash of the specification that the new colour was made from")
    since: str | None = Field(None, description="Time of the last change of phase or step (RFC 3339)")
    resume: Phase | None = Field(None, description="Where `Paused` goes back to")
    elapsed_before_pause: int = Field(0, description="Seconds of the phase or step that had passed")
    reason: str = ""
    message: str = ""
    users: int = Field(0, description="Users whom the new colour served in this step")
    lift: str = Field("", description="Relative change of click-through with its interval, e.g. +2.1% [-0.4%, +4.6%]")
    observed_generation: int = 0
    history: list[Transition] = Field(default_factory=list)
    conditions: list[Condition] = Field(default_factory=list)
