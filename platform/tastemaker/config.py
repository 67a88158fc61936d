"""Settings: a YAML file, then `TASTEMAKER_*` variables over it. An unknown name is refused.

`tastemaker.yaml` in the working directory is read when it is there; `TASTEMAKER_CONFIG` names another file. Nested
fields are written with two underscores in variables: `TASTEMAKER_EDGE__PORT=9000`.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from tastemaker.decisions.sampling import Decisions
from tastemaker.errors import InvalidInput
from tastemaker.event_types import DEFAULT_EVENT_TYPES
from tastemaker.event_types import EventType as EventType
from tastemaker.gates import Gates
from tastemaker.heads import HeadWeights
from tastemaker.ranking import KServe as KServe
from tastemaker.ranking import Ranking as Ranking
from tastemaker.section import Section as Section
from tastemaker.training import Training

CONFIG_VARIABLE = "TASTEMAKER_CONFIG"
DEFAULT_FILE = "tastemaker.yaml"
OTHER_VARIABLES = {CONFIG_VARIABLE, "TASTEMAKER_CRDS", "TASTEMAKER_HELM"}
KUBERNETES_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)$")
"""Variables that Kubernetes itself sets in a pod for each service of the namespace."""


class MicroBatch(Section):
    """How concurrent requests share one hop to Ray Serve."""

    max_size: int = Field(32, ge=1, description="requests in one batch; larger batches add latency for little gain")
    max_in_flight: int = Field(2, ge=1, description="batches under way at once: one computes while the next travels")
    wait_ms: float = Field(
        10.0, ge=0, description="while one is under way the next waits so long to fill; a lone request never waits"
    )


class Edge(Section):
    """The front door."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    api_key: SecretStr | None = Field(
        None,
        description="may do everything: `Authorization: Bearer KEY`; this or `keys_file` is required beyond loopback",
    )
    keys_file: Path | None = Field(
        None,
        description="keys as `tastemaker keys export` prints them: known beside those in Redis, and while it is away",
    )
    open_reads: bool = Field(True, description="whether who shows no key may read")
    rate_limit: float | None = Field(
        None, gt=0, description="requests per second of one key at one edge process; bursts of one second's worth"
    )
    max_body_bytes: int = Field(1 << 20, ge=1024, description="a larger body is refused with 413")
    deadline_ms: int = Field(
        800,
        ge=1,
        description="of an answer; where the models take nine tenths of it, it falls a step of the ladder",
    )
    cache_ttl_s: int = Field(300, ge=0, description="life of a cached slate; 0 switches the cache off")
    stale_ttl_s: int = Field(86_400, ge=0, description="how long an old slate may still serve as a fallback")
    batch: MicroBatch = MicroBatch()
    routing_file: Path | None = Field(None, description="copy of the routing document, to start by while Redis is away")


class Scaling(Section):
    """Ray Serve's autoscaling of one deployment (the fields are Ray's own)."""

    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(4, ge=1)
    target_ongoing_requests: float = Field(2.0, gt=0)
    upscale_delay_s: float = Field(10.0, ge=0)
    downscale_delay_s: float = Field(120.0, ge=0)
    look_back_period_s: float = Field(10.0, gt=0)
    metrics_interval_s: float = Field(2.0, gt=0)


class Deployment(Section):
    """Replicas and resources of one Ray Serve deployment. Give `replicas`, or `autoscaling` to let Ray choose."""

    replicas: int = Field(1, ge=1)
    autoscaling: Scaling | None = None
    num_cpus: float = Field(0.2, ge=0, description="CPUs that Ray reserves for each replica")
    num_gpus: float = Field(0.0, ge=0)
    threads: int = Field(1, ge=1, description="threads of the kernels (torch, FAISS) inside one replica")
    timeout_ms: int = Field(400, ge=1, description="budget of one batch; beyond it the stage is skipped")
    max_ongoing_requests: int = Field(8, ge=1)


class Deployments(Section):
    """The three deployments scale apart."""

    recommender: Deployment = Deployment()
    candidate_generator: Deployment = Deployment()
    ranker: Deployment = Deployment()


class Funnel(Section):
    """How many items each stage hands on."""

    candidates: int = Field(1000, ge=1)
    ranked: int = Field(100, ge=1)
    head_weights: HeadWeights = Field(HeadWeights(), description="of the ranker's heads in a candidate's score")
    slate: int = Field(20, ge=1, le=100)
    history: int = Field(100, ge=1, description="most recent events that the user tower and item-to-item retrieval see")


class Sources(Section):
    """The candidate sources. What they propose in each scene stands in the scenes."""

    budget_ms: int = Field(
        300,
        ge=1,
        description="of each source for one batch, below the timeout of the deployment; a late one is left out",
    )
    budgets_ms: dict[str, Annotated[int, Field(ge=1)]] = Field({}, description="of single sources, by name")

    def of(self, source: str) -> int:
        """The budget of `source` in milliseconds."""
        return self.budgets_ms.get(source, self.budget_ms)


class Serving(Section):
    """Ray Serve."""

    host: str = "127.0.0.1"
    port: int = Field(8100, ge=1, le=65535)
    deployments: Deployments = Deployments()
    sources: Sources = Sources()
    funnel: Funnel = Funnel()


class Ingest(Section):
    """The worker between the stream and everything that learns from it."""

    shards: int = Field(4, ge=1, le=64, description="streams among which users are divided")
    batch: int = Field(2000, ge=1, description="events taken from a shard at once, or some more")
    lake_flush_s: float = Field(5.0, gt=0, description="events wait at most this long for their Parquet file")
    trail_length: int = Field(4096, ge=1, description="events kept online per user")
    dedupe_s: int = Field(
        21_600, ge=60, description="a repeated event_id is recognised online for so long; some 100 bytes of Redis each"
    )
    max_backlog: int = Field(
        1_000_000, ge=1, description="events that may wait for the worker; beyond, POST /v1/events answers 429"
    )
    max_memory: float = Field(
        0.8, gt=0, le=1, description="share of Redis's memory in use, of `maxmemory` or else the machine's, likewise"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="/metrics of the worker, on every interface; 0 = none")


class Settings(BaseSettings):
    """Everything that may be configured. With nothing set, all state lives under `home`."""

    model_config = SettingsConfigDict(
        env_prefix="TASTEMAKER_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    home: Path = Field(Path(".tastemaker"), description="state directory of the embedded services")
    lake_url: str | None = Field(None, description="fsspec URL of the data lake; default: `home`/lake")
    redis_url: str | None = Field(None, description="redis:// URL; default: an embedded server under `home`")
    mlflow_tracking_uri: str | None = Field(
        None,
        validation_alias=AliasChoices("mlflow_tracking_uri", "TASTEMAKER_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI"),
    )
    ray_address: str | None = Field(
        None, validation_alias=AliasChoices("ray_address", "TASTEMAKER_RAY_ADDRESS", "RAY_ADDRESS")
    )
    model_name: str = Field("tastemaker", description="name of the registered model")
    scenes_file: Path | None = Field(None, description="YAML of scenes that is laid over the packaged ones")
    scenes: dict[str, dict[str, Any]] = Field({}, description="scenes that are laid over those of the file")
    event_types: Annotated[dict[str, EventType], Field(min_length=1)] = DEFAULT_EVENT_TYPES
    edge: Edge = Edge()
    serving: Serving = Serving()
    ranking: Ranking = Ranking()
    kserve: KServe = KServe()
    ingest: Ingest = Ingest()
    decisions: Decisions = Decisions()
    training: Training = Training()
    gates: Gates | None = Field(Gates(), description="before a version may be the champion; null: anything may be")
    feast_registry: str | None = Field(
        None, description="path, s3:// or gs:// URL of a file, or SQLAlchemy URL; default: `home`/feast/registry.db"
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("otlp_endpoint", "TASTEMAKER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="URL of an OpenTelemetry collector (OTLP over HTTP), which gets traces; such as http://collector:4318",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    @property
    def lake(self) -> str:
        """URL of the data lake."""
        return self.lake_url or str((self.home / "lake").absolute())

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{(self.home / 'mlflow.db').absolute()}"

    def event_type(self, name: str) -> EventType:
        """The declared event type `name`.

        Raises:
            InvalidInput: it is not declared; the message lists those that are.
        """
        try:
            return self.event_types[name]
        except KeyError:
            known = ", ".join(sorted(self.event_types))
            raise InvalidInput(
                f"unknown event_type {name!r}", f"Use one of {known}, or declare it under `event_types`"
            ) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables beat the file; arguments (in tests) beat both."""
        file = YamlConfigSettingsSource(settings_cls, yaml_file=_config_file())
        return init_settings, env_settings, file


def _config_file() -> Path:
    return Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_FILE))


def _refuse_unknown_variables() -> None:
    """pydantic-settings skips variables that it does not know, so that a misspelt one would silently do nothing."""
    known = [f"TASTEMAKER_{name.upper()}" for name in Settings.model_fields]
    for variable in os.environ:
        if (
            not variable.startswith("TASTEMAKER_")
            or variable in OTHER_VARIABLES
            or ("__" not in variable and KUBERNETES_LINK.search(variable))
        ):
            continue
        head = variable.split("__")[0]
        if head not in known:
            near = difflib.get_close_matches(head, known, n=1)
            remedy = f"Did you mean {variable.replace(head, near[0])}?" if near else "Unset it"
            raise InvalidInput(f"variable {variable} names no setting", remedy)


@lru_cache(maxsize=1)
def load() -> Settings:
    """The settings of this process, read once.

    Raises:
        InvalidInput: the file or a variable does not fit; the message names the field, the value and what was expected.
    """
    _refuse_unknown_variables()
    file = _config_file()
    if CONFIG_VARIABLE in os.environ and not file.is_file():
        raise InvalidInput(f"{CONFIG_VARIABLE} names {str(file)!r}, which is not a file", "Correct or unset it")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidInput(
            f"setting {place!r} has value {first['input']!r}: {first['msg'].lower()}",
            f"Correct it in {file} or in TASTEMAKER_{place.upper().replace('.', '__')}",
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is not YAML: {' '.join(str(error).split())}", "Correct the file") from error
