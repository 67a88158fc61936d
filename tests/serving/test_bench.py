from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from tastemaker import bundle
from tastemaker.features import trail
from tastemaker_serving import bench
from tastemaker_serving.load import Load


def test_cpu_of_a_process_and_what_became_of_others() -> None:
    before = bench._cpu_seconds([os.getpid()])
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass

    spent = bench._spent(before, bench._cpu_seconds([os.getpid()]))

    assert 0.2 < spent < 1.0
    assert bench._spent({1: 5.0, 2: 1.0}, {2: 1.5, 3: 0.25}) == pytest.approx(0.75)  # 1 is gone, 3 is new


def test_result_of_a_load() -> None:
    load = Load(elapsed_s=2.0, errors=1, latency_ms=[10.0] * 99 + [50.0], stage_ms={"ranking": [4.0, 6.0]})

    result = bench._result(load, requests=100, cpu_ms=6.0, batch_size=31.4, timed={"search": 1.0, "ranker": 2.0})

    assert (result.rps, result.errors, result.p50_ms) == (50.0, 1, 10.0)
    assert result.p99_ms >= 10.0
    assert result.stages["ranking"]["p50_ms"] == 5.0
    assert (result.kernel_cpu_ms, result.cpu_over_kernels) == (3.0, 2.0)
    assert bench._result(load, 100, 6.0, 31.4, {}).cpu_over_kernels is None


def test_seeded_users_have_trails_of_the_catalogue(redis_url: str) -> None:
    users = bench.seed_users(redis_url, ["i1", "i2"], users=3, events=7)

    with Redis.from_url(redis_url) as redis:
        trails = [trail.decode(redis.get(trail.trail_key(user))) for user in users]
    assert [len(records) for records in trails] == [7, 7, 7]
    assert all(np.all(np.diff(records["timestamp"].astype(np.int64)) > 0) for records in trails)


def test_a_synthetic_bundle_comes_from_an_entry_point(tmp_path: Path) -> None:
    bench.write_synthetic(tmp_path / "bundle", items=50, dim=8)

    assert bundle.read(tmp_path / "bundle").manifest.items == 50
