from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tastemaker.gates import Evidence, Gates, Rival, compare, evidence_of, judge

EVIDENCE = Evidence(
    holdout="a",
    slate=20,
    recall=0.2,
    ndcg=0.15,
    popular_recall=0.08,
    popular_ndcg=0.07,
    reach=0.6,
    intra_list_distance=0.6,
    calibration_error=0.1,
    calibration_events=250,
    latency_ms=9.0,
    rival=None,
)
FAILURES = [
    ("over_popularity", {"recall": 0.08}, "recall@20 is 0.0800, more than 0.0800 is asked"),
    ("over_popularity", {"ndcg": 0.0512}, "ndcg@20 is 0.0512, more than 0.0700 is asked"),
    ("reach", {"reach": 0.4}, "40.0% of the catalogue is among somebody's foremost candidates, more than 40.0% is"),
    ("intra_list_distance", {"intra_list_distance": 0.3}, "0.300 apart, more than 0.300 is asked"),
    ("calibration_error", {"calibration_error": 0.512}, "off by 51.2% of themselves on average, at most 50.0%"),
    ("latency_ms", {"latency_ms": 101.26}, "takes 101.3 ms of CPU, at most 100.0 is allowed"),
]


def test_the_evidence_is_what_the_report_says(report: dict[str, Any]) -> None:
    report["models"]["champion"] = {"recall@20": 0.19}
    report["champion"] = {"version": "7", "problem": ""}
    expected = EVIDENCE.model_copy(update={"holdout": "0123456789abcdef", "rival": Rival(version="7", recall=0.19)})
    assert evidence_of(report) == expected


def test_a_good_version_passes_every_gate() -> None:
    said = judge(EVIDENCE, Gates())
    assert all(verdict.passed for verdict in said)
    assert {verdict.gate for verdict in said} == set(Gates.model_fields) - {"of_champion"}


@pytest.mark.parametrize(("gate", "change", "finding"), FAILURES)
def test_each_gate_fails_alone_and_names_figure_and_threshold(
    gate: str, change: dict[str, float], finding: str
) -> None:
    failed = [verdict for verdict in judge(EVIDENCE.model_copy(update=change), Gates()) if verdict.failed]
    assert [verdict.gate for verdict in failed] == [gate]
    assert finding in failed[0].finding
    assert failed[0].remedy


@pytest.mark.parametrize(("gate", "change"), [(gate, change) for gate, change, _ in FAILURES])
def test_a_gate_that_is_switched_off_says_nothing(gate: str, change: dict[str, float]) -> None:
    off = Gates.model_validate({gate: None})
    assert gate not in {verdict.gate for verdict in judge(EVIDENCE.model_copy(update=change), off)}


def test_what_was_not_measured_refuses_nobody(report: dict[str, Any]) -> None:
    report["calibration"]["heads"] = {"like": {"ece": 0.2, "rate": 0.1, "examples": 990}}
    report["pipeline"]["candidates_per_item"] = 9.9
    del report["models"]["served"]["intra_list_distance"]
    said = judge(evidence_of(report), Gates())
    findings = {verdict.gate: verdict.finding for verdict in said if verdict.passed is None}
    assert findings.keys() == {"calibration_error", "reach", "intra_list_distance"}
    assert "too few categories" in findings["intra_list_distance"]
    assert not any(verdict.failed for verdict in said)


@pytest.mark.parametrize(
    ("calibration", "finding"),
    [
        ({"heads": {"like": {"ece": 0.2, "rate": 0.1, "examples": 990}}}, "too few events .*: 99 .* 100 are needed"),
        ({"heads": {}}, "too few events .*: 0 .* 100 are needed"),
        (None, "says nothing of its probabilities"),
    ],
)
def test_why_probabilities_were_not_judged_is_told(
    report: dict[str, Any], calibration: dict[str, Any] | None, finding: str
) -> None:
    del report["calibration"]
    report |= {"calibration": calibration} if calibration else {}
    (verdict,) = [said for said in judge(evidence_of(report), Gates()) if said.gate == "calibration_error"]
    assert verdict.passed is None
    assert re.search(finding, verdict.finding)


def test_what_an_earlier_version_noted_can_still_be_judged() -> None:
    noted = EVIDENCE.model_dump(exclude={"calibration_events"})
    assert all(verdict.passed for verdict in judge(Evidence.model_validate(noted), Gates()))


def test_a_catalogue_that_fits_into_a_slate_may_have_a_champion() -> None:
    whole = EVIDENCE.model_copy(update={"recall": 1.0, "popular_recall": 1.0})
    recall, ndcg = (verdict for verdict in judge(whole, Gates()) if verdict.gate == "over_popularity")
    assert recall.passed is None
    assert ndcg.passed, "the order still tells"


def test_the_champion_is_compared_on_one_holdout_only() -> None:
    asked = EVIDENCE.model_copy(update={"rival": Rival(version="3", recall=0.21)})
    (near,) = compare(asked, Gates(), "3", None)
    assert near.passed, "0.95 times .21 is .1995"
    (far,) = compare(asked, Gates(of_champion=1.0), "3", None)
    assert far.failed
    assert "recall@20 is 0.2000, at least 0.2100 is asked: 1 times the 0.2100 of version 3" in far.finding
    same_holdout = EVIDENCE.model_copy(update={"recall": 0.3})
    (other,) = compare(asked, Gates(), "4", same_holdout)
    assert other.failed, "the figure of 3 says nothing of 4, that of 4 itself counts"
    (never,) = compare(asked, Gates(), "4", same_holdout.model_copy(update={"holdout": "b"}))
    assert never.failed
    assert "never compared" in never.finding
    assert "--record" in never.remedy
    assert compare(asked, Gates(of_champion=None), "4", None) == []


def test_a_champion_that_cannot_be_read_stops_nobody() -> None:
    asked = EVIDENCE.model_copy(update={"rival": Rival(version="3", recall=None)})
    (verdict,) = compare(asked, Gates(), "3", None)
    assert verdict.passed is None


def test_a_misspelt_gate_is_refused() -> None:
    with pytest.raises(ValidationError, match="coverage"):
        Gates.model_validate({"coverage": 0.4})


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_what_is_better_never_fails_where_the_worse_passes(a: float, b: float, c: float, d: float) -> None:
    worse, better = sorted((a, b))
    gates = Gates(reach=c, intra_list_distance=d, latency_ms=50.0, of_champion=c)

    def failures(goodness: float) -> set[str]:
        change = {"recall": goodness, "ndcg": goodness, "reach": goodness, "intra_list_distance": goodness}
        change |= {"calibration_error": 1 - goodness, "latency_ms": 100 - 100 * goodness}
        evidence = EVIDENCE.model_copy(update=change | {"rival": Rival(version="1", recall=d)})
        said = judge(evidence, gates) + compare(evidence, gates, "1", None)
        return {verdict.gate for verdict in said if verdict.failed}

    assert failures(better) <= failures(worse)
