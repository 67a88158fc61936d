"""The serving benchmark: load on a running edge, its latencies, and the CPU that all server processes spent on it."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tastemaker import ids
from tastemaker.errors import NotFound
from tastemaker.features import trail
from tastemaker_serving import kernels
from tastemaker_serving.load import Load, drive

WARM_UP = 10
"""Requests per client before the measurement: connections are open, caches and allocators are warm."""
BUNDLES = "tastemaker.bundles"
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Result:
    """A run. `cpu_ms_per_request` is user and system time of the servers; the load generator is left out."""

    requests: int
    errors: int
    degraded: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    rps: float
    cpu_ms_per_request: float
    stages: dict[str, dict[str, float]]
    batch_size: float
    kernel_cpu_ms: float | None = None
    kernels: dict[str, float] = field(default_factory=dict)
    cpu_over_kernels: float | None = None


def bench_serve(
    base_url: str,
    requests: int,
    concurrency: int,
    user_ids: Sequence[str],
    servers: Sequence[int],
    bundle_path: Path | None = None,
) -> Result:
    """Load a running edge and say what it took.

    Args:
        user_ids: asked for in turn, past the cache.
        servers: process ids whose CPU counts, with that of all their descendants.
        bundle_path: given, its kernels are timed after the load, alone, at the batch size that the load led to.
    """
    asyncio.run(drive(base_url, WARM_UP * concurrency, concurrency, user_ids))
    batches, cpu = _batches(base_url), _cpu_seconds(servers)
    load = asyncio.run(drive(base_url, requests, concurrency, user_ids))
    spent = _spent(cpu, _cpu_seconds(servers))
    size = _mean_batch(batches, _batches(base_url))
    timed = kernels.measure(bundle_path, max(1, round(size))) if bundle_path else {}
    return _result(load, requests, spent / requests * 1e3, size, timed)


def write_synthetic(path: Path, items: int, dim: int, catalogue: pa.Table | None = None) -> None:
    """Write a bundle of random items with untrained models; it comes from the training package, found by name.

    Raises:
        NotFound: that package is not installed.
    """
    for entry in entry_points(group=BUNDLES, name=SYNTHETIC):
        entry.load()(path, items=items, dim=dim, catalogue=catalogue)
        return
    raise NotFound(f"nothing installed writes {SYNTHETIC} bundles", "Install tastemaker[training]")


def seed_users(redis_url: str, item_ids: Sequence[str], users: int, events: int) -> list[str]:
    """Give synthetic users trails of `events` random items each; returns their ids."""
    generator = np.random.default_rng(0)
    keys = ids.keys_of(item_ids)
    user_ids = [f"bench-user-{number}" for number in range(users)]
    now = int(time.time())
    trails = {}
    for user_id in user_ids:
        records = np.empty(events, trail.RECORD)
        records["item"] = generator.choice(keys, events)
        records["timestamp"] = now - np.arange(events, 0, -1)
        records["preference"] = generator.uniform(-0.2, 1.0, events)
        trails[user_id] = records
    with Redis.from_url(redis_url) as redis:
        trail.fill(redis, trails)
    return user_ids


def _result(load: Load, requests: int, cpu_ms: float, batch_size: float, timed: dict[str, float]) -> Result:
    p50, p95, p99 = np.percentile(load.latency_ms, [50, 95, 99])
    total = sum(timed.values())
    return Result(
        requests=requests,
        errors=load.errors,
        degraded=load.degraded,
        p50_ms=round(float(p50), 2),
        p95_ms=round(float(p95), 2),
        p99_ms=round(float(p99), 2),
        rps=round(requests / load.elapsed_s, 1),
        cpu_ms_per_request=round(cpu_ms, 3),
        stages={stage: _percentiles(took) for stage, took in load.stage_ms.items()},
        batch_size=round(batch_size, 1),
        kernel_cpu_ms=round(total, 3) if timed else None,
        kernels={name: round(spent, 3) for name, spent in timed.items()},
        cpu_over_kernels=round(cpu_ms / total, 2) if timed else None,
    )


def _percentiles(took: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(took, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def _cpu_seconds(servers: Sequence[int]) -> dict[int, float]:
    """CPU time so far by process, including that of children that have ended."""
    spent = {}
    for root in servers:
        for process in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
            try:
                spent[process.pid] = sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
    return spent


def _spent(before: dict[int, float], after: dict[int, float]) -> float:
    return sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def _batches(base_url: str) -> tuple[float, float]:
    """How many calls went to Ray Serve so far, and how many requests they carried."""
    with urllib.request.urlopen(f"{base_url}/metrics") as response:  # noqa: S310 - our own edge
        families = text_string_to_metric_families(response.read().decode())
        found = {sample.name: sample.value for family in families for sample in family.samples}
    return found.get("tastemaker_batch_size_count", 0.0), found.get("tastemaker_batch_size_sum", 0.0)


def _mean_batch(before: tuple[float, float], after: tuple[float, float]) -> float:
    calls, carried = after[0] - before[0], after[1] - before[1]
    return carried / calls if calls else 1.0
