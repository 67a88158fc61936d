"""What a rollout does next, case by case, and what holds for every case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.metrics import LATENCY_BUCKETS
from tastemaker.rollout.decide import WARMING_S, Observation, decide
from tastemaker.rollout.guardrails import CERTAIN, evidence_above, quantile, slower
from tastemaker.rollout.meter import BUCKETS, Measured
from tastemaker.rollout.resources import ModelRolloutSpec, ModelRolloutStatus, Phase

SPEC: dict[str, Any] = {
    "shadow": {"duration": "60s"},
    "steps": [{"weight": 50, "duration": "60s"}, {"weight": 100, "duration": "60s"}],
}


def spec(**parts: Any) -> ModelRolloutSpec:
    return ModelRolloutSpec.model_validate(SPEC | parts)


def at(phase: Phase, step: int = 0, **parts: Any) -> ModelRolloutStatus:
    return ModelRolloutStatus(phase=phase, step=step, colour="green", version="2", weight=50, **parts)


def measured(
    requests: int = 10_000,
    errors: int = 0,
    fallbacks: int = 0,
    latency_s: float = 0.05,
    users: int = 5_000,
    ctr: float = 0.2,
    items: int = 100,
) -> Measured:
    """A colour whose users all got as many slates and clicked as often."""
    latency = np.zeros(len(LATENCY_BUCKETS) + 1)
    latency[LATENCY_BUCKETS.index(latency_s)] = requests - errors
    shown = np.full(BUCKETS, 50.0)
    return Measured(requests, errors, fallbacks, latency, users, items, shown, np.round(shown * ctr))


def seen(seconds: float = 100, **parts: Any) -> Observation:
    return Observation(seconds, **{"candidate": measured(), "stable": measured()} | parts)


FEW = measured(users=90)


@pytest.mark.parametrize(
    ("phase", "given_spec", "observation", "expected", "reason"),
    [
        ("Preparing", spec(), seen(ready=False), "Preparing", "ColourStarting"),
        ("Preparing", spec(), seen(601, ready=False), "RollingBack", "ProgressDeadlineExceeded"),
        ("Preparing", spec(), seen(), "Warming", "ColourReady"),
        ("Preparing", spec(action="Promote"), seen(), "Warming", "ColourReady"),
        ("Warming", spec(), seen(5), "Warming", "Warming"),
        ("Warming", spec(), seen(WARMING_S + 1), "RollingBack", "WarmingFailed"),
        ("Warming", spec(), seen(warm=True), "Shadow", "Warm"),
        ("Warming", spec(shadow=None), seen(warm=True), "Progressing", "Warm"),
        ("Warming", spec(action="Promote"), seen(warm=True), "Promoting", "PromotedByHand"),
        ("Shadow", spec(), seen(30), "Shadow", "Measuring"),
        ("Shadow", spec(), seen(candidate=measured(requests=40)), "Shadow", "WaitingForCertainty"),
        ("Shadow", spec(), seen(candidate=measured(ctr=0)), "Progressing", "ShadowPassed"),
        ("Shadow", spec(), seen(candidate=measured(errors=500)), "RollingBack", "Errors"),
        ("Shadow", spec(action="Promote"), seen(3), "Promoting", "PromotedByHand"),
        ("Progressing", spec(), seen(30), "Progressing", "Measuring"),
        ("Progressing", spec(), seen(), "Progressing", "StepPassed"),
        ("Progressing", spec(), seen(ready=False), "Progressing", "ColourNotReady"),
        ("Progressing", spec(), seen(trouble="Redis is away"), "Progressing", "CannotMeasure"),
        ("Progressing", spec(), seen(failure="crash loop"), "RollingBack", "ColourFailed"),
        ("Progressing", spec(), seen(3, candidate=measured(requests=5, errors=1)), "Progressing", "Measuring"),
        ("Progressing", spec(), seen(3, candidate=measured(requests=5, errors=5)), "RollingBack", "Errors"),
        ("Progressing", spec(), seen(candidate=measured(errors=105)), "Progressing", "WaitingForCertainty"),
        ("Progressing", spec(), seen(candidate=measured(fallbacks=900)), "RollingBack", "Fallbacks"),
        ("Progressing", spec(), seen(candidate=measured(latency_s=0.8)), "RollingBack", "SlowAnswers"),
        ("Progressing", spec(), seen(candidate=measured(users=50)), "RollingBack", "SampleRatioMismatch"),
        ("Progressing", spec(), seen(candidate=FEW, stable=FEW), "Progressing", "WaitingForCertainty"),
        ("Progressing", spec(), seen(candidate=measured(ctr=0.1)), "RollingBack", "ClickThroughLoss"),
        ("Progressing", spec(clickThrough=None), seen(candidate=measured(ctr=0.1)), "Progressing", "StepPassed"),
        ("Progressing", spec(clickThrough={"maxLoss": 0.001}), seen(), "Progressing", "WaitingForCertainty"),
        ("Progressing", spec(action="Pause"), seen(), "Paused", "Paused"),
        ("Progressing", spec(action="Abort"), seen(), "RollingBack", "Aborted"),
        ("Progressing", spec(action="Promote"), seen(3), "Promoting", "PromotedByHand"),
        ("Progressing", spec(action="Promote"), seen(candidate=measured(ctr=0.1)), "RollingBack", "ClickThroughLoss"),
    ],
)  # fmt: skip
def test_the_next_move(
    phase: Phase, given_spec: ModelRolloutSpec, observation: Observation, expected: Phase, reason: str
) -> None:
    move = decide(given_spec, at(phase), observation)
    assert (move.phase, move.reason) == (expected, reason)
    assert move.message


def test_the_last_step_has_no_control_and_looks_at_guardrails_only() -> None:
    nobody = Measured()
    assert decide(spec(), at("Progressing", 1), seen(stable=nobody)).phase == "Promoting"
    assert decide(spec(), at("Progressing", 1), seen(stable=nobody, candidate=measured(ctr=0))).phase == "Promoting"
    broken = seen(3, stable=nobody, candidate=measured(errors=500))
    assert decide(spec(), at("Progressing", 1), broken).phase == "RollingBack"


@pytest.mark.parametrize(
    ("result", "expected"), [(None, "Progressing"), (0.5, "RollingBack"), (2.0, "Progressing"), (3.5, "RollingBack")]
)
def test_queries_have_bounds_on_both_sides_and_no_result_waits(result: float | None, expected: Phase) -> None:
    asked = spec(queries=[{"name": "q", "query": "x", "min": 1, "max": 3}])
    move = decide(asked, at("Progressing"), seen(queries={"q": result}))
    assert move.phase == expected
    assert (move.reason == "StepPassed") == (result == 2.0)


@pytest.mark.parametrize(
    ("items", "catalogue", "expected", "reason"),
    [
        (100, 150, "Progressing", "StepPassed"),
        (100, 1_000, "RollingBack", "LowCoverage"),
        (100, 10_000_000, "Progressing", "LowCoverage"),
        (100, None, "Progressing", "StepPassed"),
    ],
)
def test_coverage_is_judged_once_there_were_slates_enough(
    items: int, catalogue: int | None, expected: Phase, reason: str
) -> None:
    asked = spec(guardrails={"minCoverage": 0.5})
    move = decide(asked, at("Progressing"), seen(candidate=measured(items=items), catalogue=catalogue))
    assert (move.phase, move.reason) == (expected, reason)


def test_coverage_that_was_not_judged_says_so() -> None:
    asked = spec(guardrails={"minCoverage": 0.5})
    assert "coverage was not judged" in decide(asked, at("Progressing", 1), seen()).message


def test_what_is_missing_is_said_in_numbers() -> None:
    few = seen(30, candidate=measured(requests=47, users=12))
    message = decide(spec(), at("Progressing"), seen(30, candidate=few.candidate, stable=measured(users=12))).message
    assert message == "30 of 60 s; 47 of 100 requests; 12 of 100 users of each colour"


def test_a_pause_ends_where_it_began() -> None:
    paused = at("Paused", resume="Shadow")
    assert decide(spec(action="Pause"), paused, seen()).phase == "Paused"
    assert decide(spec(), paused, seen()).phase == "Shadow"
    assert decide(spec(action="Abort"), paused, seen()).phase == "RollingBack"
    assert decide(spec(action="Pause"), paused, seen(candidate=measured(errors=5_000))).phase == "RollingBack"


@given(
    phase=st.sampled_from(["Preparing", "Warming", "Shadow", "Progressing", "Paused"]),
    action=st.sampled_from(["Run", "Pause", "Promote", "Abort"]),
    ready=st.booleans(),
    warm=st.booleans(),
    passed=st.floats(0, 10_000),
    errors=st.integers(0, 100),
    requests=st.integers(100, 1_000),
    ctr=st.floats(0, 1),
    step=st.integers(0, 1),
)
def test_traffic_only_grows_step_by_step_and_only_from_what_was_proved(
    phase: Phase,
    action: str,
    ready: bool,
    warm: bool,
    passed: float,
    errors: int,
    requests: int,
    ctr: float,
    step: int,
) -> None:
    status = at(
        phase, step if phase in {"Progressing", "Paused"} else 0, resume="Progressing" if phase == "Paused" else None
    )
    candidate = measured(requests, min(errors, requests), ctr=ctr)
    move = decide(spec(action=action), status, seen(passed, ready=ready, warm=warm, candidate=candidate))
    assert move.step - status.step in {0, 1}
    if action == "Abort":
        assert move.phase == "RollingBack"
    if action == "Pause":
        assert move.phase in {"Paused", "RollingBack"}
    if move.phase == "Promoting":
        assert phase in {"Warming", "Shadow", "Progressing"}
        assert action == "Promote" or status.step == 1
    if move.phase == "Progressing" and phase == "Progressing" and move.step > status.step:
        assert passed >= 60
        assert ready
        assert errors <= 0.01 * requests
    if phase in {"Preparing", "Warming"} and move.phase in {"Shadow", "Progressing"}:
        assert warm


# -- guardrails --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "total", "certain"),
    [(1, 1, False), (1, 5, False), (2, 20, False), (5, 5, True), (10, 20, True), (3, 200, False), (60, 2_000, True)],
)
def test_few_errors_are_no_verdict_and_many_are(bad: int, total: int, certain: bool) -> None:
    assert (evidence_above(bad, total, 0.01) >= CERTAIN) is certain


def test_a_share_at_its_bound_is_hardly_ever_called_broken() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(500):
        bad = np.cumsum(rng.random(3_000) < 0.01)
        wrong += any(evidence_above(float(bad[at]), at + 1, 0.01) >= CERTAIN for at in range(0, 3_000, 25))
    assert wrong <= 3


@given(bad=st.integers(0, 50), good=st.integers(0, 500), limit=st.floats(0.001, 0.5))
def test_evidence_never_grows_on_average_within_the_bound(bad: int, good: int, limit: float) -> None:
    now = evidence_above(bad, bad + good, limit)
    after = limit * evidence_above(bad + 1, bad + good + 1, limit) + (1 - limit) * evidence_above(
        bad, bad + good + 1, limit
    )
    assert after <= now * (1 + 1e-9) or bad == 0


@given(counts=st.lists(st.integers(0, 100), min_size=len(LATENCY_BUCKETS) + 1, max_size=len(LATENCY_BUCKETS) + 1))
def test_quantile_and_slower_agree(counts: list[int]) -> None:
    latency = np.array(counts, float)
    p99 = quantile(latency, 0.99)
    if np.isfinite(p99) and latency.sum():
        assert slower(latency, p99) == pytest.approx(0.01 * latency.sum(), abs=1e-6 * latency.sum() + 1e-9)


def test_quantiles_by_hand() -> None:
    latency = np.zeros(len(LATENCY_BUCKETS) + 1)
    assert quantile(latency, 0.99) == 0
    latency[LATENCY_BUCKETS.index(0.1)] = 100
    assert quantile(latency, 0.5) == pytest.approx(0.0875)
    latency[-1] = 100
    assert quantile(latency, 0.99) == np.inf
    assert slower(latency, 0.2) == 100
