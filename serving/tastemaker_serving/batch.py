"""Batch work over many users on Ray Data: parts of them, each done by a worker that holds the models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa

from tastemaker import ray_session
from tastemaker.config import Settings
from tastemaker.errors import TastemakerError, Unavailable
from tastemaker.registry import Registry

BATCH: Final = 32
"""Users whose kernels run together; more are no faster."""

RAISED: Final = re.compile(r"^(?:tastemaker\.errors\.\w+|[\w.]+Error): (.+)$", re.MULTILINE)
"""The line of a traceback that says what was raised."""


@dataclass(frozen=True)
class Models:
    """Whose slates: a bundle in a directory that every node sees, or else a version in the registry."""

    version: str
    path: Path | None = None

    def bundle(self, settings: Settings) -> Path:
        """The bundle's directory on this machine; a registered version is downloaded once.

        Raises:
            NotFound, Unavailable: see `Registry`.
        """
        if self.path is not None:
            return self.path
        registry = Registry(settings)
        return registry.download(registry.resolve(self.version.rpartition("/")[2]))


@dataclass(frozen=True)
class Plan:
    """What every worker is told."""

    settings: Settings
    redis_url: str
    models: Models

    @classmethod
    def of(cls, settings: Settings, redis_url: str, models: Models) -> Plan:
        """The plan for workers, whose working directory is another."""
        return cls(settings.model_copy(update={"home": settings.home.absolute()}), redis_url, models)


class Worker(Protocol):
    """Made once in each process, from a plan and the arguments of the work; does one part after another.

    A part may be done twice, when a worker dies over it.
    """

    def __call__(self, part: pa.Table) -> pa.Table:
        """Do the part in the single row; returns a row that tells of it."""


def run(worker: type[Worker], plan: Plan, arguments: tuple[Any, ...], parts: Sequence[dict[str, Any]]) -> Iterator[Any]:
    """Do the `parts` on the Ray of the settings, a worker per core; yields what is told of each when it is done.

    Raises:
        Unavailable: Ray does not answer, or a part failed, and why.
    """
    if not parts:
        return
    with ray_session.session(plan.settings):
        import ray
        import ray.data

        cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        todo = ray.data.from_items(list(parts), override_num_blocks=len(parts))
        done = todo.map_batches(
            worker,
            fn_constructor_args=(plan, *arguments),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(cores, len(parts))),
            num_cpus=1,
        )
        try:
            yield from done.iter_rows()
        except Exception as error:  # Ray Data has no one class for what happens in workers
            raise _failed(error) from error


def _failed(error: Exception) -> TastemakerError:
    """What happened in a worker; of the exception there, only its traceback as text arrives here."""
    said = RAISED.findall(str(error))
    return Unavailable(f"a part of the work failed: {said[-1] if said else repr(error):.500}", "Run it again")
