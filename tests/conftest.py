"""What holds for every test."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A shell's background jobs ignore SIGINT, and so would every program that a test starts and stops by it.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # timings decide no test


@pytest.fixture(autouse=True)
def _metrics_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feast, once a test has imported it, declares the whole process one of several that share their metrics."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


@pytest.fixture
def report() -> dict[str, Any]:
    """The evaluation of a version that passes every gate."""
    served = {"recall@20": 0.2, "ndcg@20": 0.15, "coverage": 0.1, "intra_list_distance": 0.6}
    popularity = {"recall@20": 0.08, "ndcg@20": 0.07, "coverage": 0.01, "intra_list_distance": 0.7}
    return {
        "split": {
            "holdout": "newest 20% of each user's events",
            "relevant": "preference >= 0.6",
            "digest": "0123456789abcdef",
            "slate": 20,
            "users": 592,
            "items": 9742,
            "events": {"train": 80_000, "test": 20_000},
        },
        "models": {"popularity": popularity, "served": served | {"recall@20_ci": [0.18, 0.22]}},
        "pipeline": {
            "coverage": {"candidates": 0.8, "ranked": 0.22, "slates": 0.1},
            "reach": 0.6,
            "candidates_per_item": 60.0,
            "cpu_ms": {"p50": 6.0, "p99": 9.0, "requests": 200},
        },
        "calibration": {"heads": {"click": _head(0.025, 0.25), "like": _head(0.004, 0.1)}},
    }


def _head(error: float, rate: float) -> dict[str, float]:
    return {"ece": error, "rate": rate, "examples": 1000}
