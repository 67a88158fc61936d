"""The gates before the alias `champion`: what a version's evaluation must show before everybody is served by it.

Verdicts are made of the evidence that is registered with a version and of the thresholds as they are set now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tastemaker.replay import FOREMOST


class Gates(BaseModel):
    """What an evaluation must show before a version may be the champion; null switches a gate off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    over_popularity: float | None = Field(
        1.0, ge=0, description="recall and NDCG of what would be served must exceed popularity's by this factor"
    )
    of_champion: float | None = Field(
        0.95, ge=0, description="share of the present champion's recall on the same holdout that must be reached"
    )
    reach: float | None = Field(
        0.4,
        ge=0,
        le=1,
        description="share of the catalogue that must be among the foremost candidates of some user of the test, as "
        "many as a twentieth of it",
    )
    intra_list_distance: float | None = Field(
        0.3, ge=0, le=1, description="mean distance between the items of a slate must exceed it"
    )
    calibration_error: float | None = Field(
        0.5,
        ge=0,
        description="expected calibration error, as a share of how often the event happens, that no head of the ranker "
        "may exceed",
    )
    latency_ms: float | None = Field(
        100.0, gt=0, description="99th percentile of the CPU time of one request, in process, that must not be exceeded"
    )


ENOUGH_PER_ITEM = 10
"""Foremost candidates of all users of the test together per item of the catalogue, below which its reach says
little."""
ENOUGH_HAPPENED = 100
"""Clicks, likes … of a head's examples, below which its calibration error is noise: at 100 the truth itself measures
.24 of their rate on average, at 30 .45."""


class Rival(BaseModel):
    """Another version, evaluated on the same holdout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    recall: float | None
    """None: this installation cannot read its bundle, and could not serve it either."""


class Evidence(BaseModel):
    """What gates go by: the few figures of an evaluation report that decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    holdout: str
    """Digest of the test: figures of different holdouts must not be compared."""
    slate: int
    recall: float
    ndcg: float
    popular_recall: float
    popular_ndcg: float
    reach: float | None
    """Share of the catalogue among some user's foremost candidates (`replay.foremost`); None: too few users to tell."""
    intra_list_distance: float | None
    """None: items have too few categories to tell."""
    calibration_error: float | None
    """Of the ranker's worst head, as a share of how often its event happens: of candidates so few are clicked that an
    error of a hundredth would be all there is. None: not measured."""
    calibration_events: int | None = None
    """Of the head that has most: events among the candidates that it was judged by. None: no head was judged."""
    latency_ms: float
    """CPU time of a request, 99th percentile."""
    rival: Rival | None
    """The champion of the time."""


@dataclass(frozen=True)
class Verdict:
    """What one gate says."""

    gate: str
    """Its setting in `gates`."""
    passed: bool | None
    """None: it could not be measured, which refuses nobody."""
    finding: str
    """The figure, and the threshold."""
    remedy: str = ""

    @property
    def failed(self) -> bool:
        """Whether it refuses the version."""
        return self.passed is False


def evidence_of(report: Mapping[str, Any]) -> Evidence:
    """The figures of an evaluation report (`tastemaker_training.report`) that decide.

    Raises:
        KeyError: it lacks one of them: an earlier Tastemaker wrote it.
    """
    n = report["split"]["slate"]
    served, popular, pipeline = report["models"]["served"], report["models"]["popularity"], report["pipeline"]
    told = pipeline["candidates_per_item"] >= ENOUGH_PER_ITEM
    heads = report["calibration"]["heads"].values() if "calibration" in report else None
    return Evidence(
        holdout=report["split"]["digest"],
        slate=n,
        recall=served[f"recall@{n}"],
        ndcg=served[f"ndcg@{n}"],
        popular_recall=popular[f"recall@{n}"],
        popular_ndcg=popular[f"ndcg@{n}"],
        reach=pipeline["reach"] if told else None,
        intra_list_distance=served.get("intra_list_distance"),
        calibration_error=max((head["ece"] / head["rate"] for head in heads or () if _tells(head)), default=None),
        calibration_events=None if heads is None else max(map(_events, heads), default=0),
        latency_ms=pipeline["cpu_ms"]["p99"],
        rival=_rival(report, f"recall@{n}"),
    )


def _tells(head: Mapping[str, float]) -> bool:
    return _events(head) >= ENOUGH_HAPPENED


def _events(head: Mapping[str, float]) -> int:
    return round(head["examples"] * head["rate"])


def _rival(report: Mapping[str, Any], metric: str) -> Rival | None:
    champion = report.get("champion")
    if champion is None:
        return None
    readable = "champion" in report["models"]
    return Rival(version=champion["version"], recall=report["models"]["champion"][metric] if readable else None)


def judge(evidence: Evidence, gates: Gates) -> list[Verdict]:
    """What every gate but the comparison with the champion says."""
    return [*_over_popularity(evidence, gates), *_of_the_slates(evidence, gates), *_of_the_ranker(evidence, gates)]


def compare(evidence: Evidence, gates: Gates, champion: str, its_evidence: Evidence | None) -> list[Verdict]:
    """What the gate `of_champion` says of a version against the present champion."""
    if gates.of_champion is None:
        return []
    rival = evidence.rival
    if rival is not None and rival.version == champion:
        if rival.recall is None:
            return [Verdict("of_champion", None, f"this installation cannot read the champion, version {champion}")]
        recall = rival.recall
    elif its_evidence is not None and (its_evidence.holdout, its_evidence.slate) == (evidence.holdout, evidence.slate):
        recall = its_evidence.recall
    else:
        finding = f"it was never compared with the present champion, version {champion}, on one holdout"
        return [Verdict("of_champion", False, finding, "Compare them: `tastemaker evaluate --model VERSION --record`")]
    least = gates.of_champion * recall
    finding = (
        f"recall@{evidence.slate} is {evidence.recall:.4f}, at least {least:.4f} is asked: "
        f"{gates.of_champion:g} times the {recall:.4f} of version {champion}"
    )
    return [Verdict("of_champion", evidence.recall >= least, finding, "Train on newer data, or by another recipe")]


def _over_popularity(evidence: Evidence, gates: Gates) -> Iterator[Verdict]:
    factor = gates.over_popularity
    if factor is None:
        return
    for name, value, popular in (
        ("recall", evidence.recall, evidence.popular_recall),
        ("ndcg", evidence.ndcg, evidence.popular_ndcg),
    ):
        if popular == 1:  # as where a slate has room for the whole catalogue
            yield Verdict("over_popularity", None, f"{name}@{evidence.slate} of popularity is 1, as high as it can be")
            continue
        finding = (
            f"{name}@{evidence.slate} is {value:.4f}, more than {factor * popular:.4f} is asked: "
            f"{factor:g} times the {popular:.4f} of popularity"
        )
        remedy = "Import more events, or look for what is wrong with them; `--recipe default` learns more than `smoke`"
        yield Verdict("over_popularity", value > factor * popular, finding, remedy)


def _of_the_slates(evidence: Evidence, gates: Gates) -> Iterator[Verdict]:
    if gates.reach is not None and evidence.reach is None:
        yield Verdict("reach", None, "the test has too few users for a catalogue of this size")
    elif gates.reach is not None and evidence.reach is not None:
        finding = (
            f"{evidence.reach:.1%} of the catalogue is among somebody's foremost candidates, more than "
            f"{gates.reach:.1%} is asked"
        )
        remedy = (
            f"Look whether the model proposes the same to everybody; raise serving.funnel.candidates where those are "
            f"fewer than {FOREMOST:.0%} of the catalogue"
        )
        yield Verdict("reach", evidence.reach > gates.reach, finding, remedy)
    distance, least = evidence.intra_list_distance, gates.intra_list_distance
    if least is not None and distance is None:
        yield Verdict("intra_list_distance", None, "items have too few categories to tell how far apart they are")
    elif least is not None and distance is not None:
        finding = f"the items of a slate are {distance:.3f} apart, more than {least:.3f} is asked"
        yield Verdict("intra_list_distance", distance > least, finding, "Raise `diversity.weight` of the scene `home`")


def _of_the_ranker(evidence: Evidence, gates: Gates) -> Iterator[Verdict]:
    error, most = evidence.calibration_error, gates.calibration_error
    if most is not None and error is None:
        yield Verdict("calibration_error", None, _unjudged(evidence.calibration_events))
    elif most is not None and error is not None:
        finding = f"probabilities are off by {error:.1%} of themselves on average, at most {most:.1%} is allowed"
        yield Verdict("calibration_error", error <= most, finding, "Train on more events")
    if gates.latency_ms is not None:
        finding = (
            f"1 in 100 requests takes {evidence.latency_ms:.1f} ms of CPU, at most {gates.latency_ms:.1f} is allowed"
        )
        remedy = "Lower serving.funnel.candidates, or train by a recipe of your own with a lower `ranker.hidden`"
        yield Verdict("latency_ms", evidence.latency_ms <= gates.latency_ms, finding, remedy)


def _unjudged(events: int | None) -> str:
    if events is None:
        return "the bundle says nothing of its probabilities"
    return (
        f"too few events to judge probabilities by: {events} of the head that has most, {ENOUGH_HAPPENED} are needed, "
        "among the candidates that were kept back from the ranker"
    )
