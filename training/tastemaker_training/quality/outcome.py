"""What a benchmark found, with what it cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Cost:
    """What a block took: of this process and of the children that it waited for."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mb: float = 0.0  # of this process since it began


@dataclass(frozen=True)
class Outcome:
    """The metrics of a model on a data set."""

    format: str
    model: str
    metrics: dict[str, float]
    intervals: dict[str, list[float]]  # 95 %
    seed: int
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    details: dict[str, float] = field(default_factory=dict)  # sizes that are no metrics


@contextmanager
def measured() -> Iterator[Cost]:
    """Take the cost of the block; it is known when the block is left."""
    cost, wall, cpu = Cost(), time.perf_counter(), _cpu_seconds()
    try:
        yield cost
    finally:
        cost.wall_s = round(time.perf_counter() - wall, 1)
        cost.cpu_s = round(_cpu_seconds() - cpu, 1)
        cost.peak_rss_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
