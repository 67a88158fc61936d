"""Why an item is in a slate, and why another is not: read off the decision that was logged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from tastemaker.decisions.drops import CAPS, EXCLUDED, OUTLIVED, RANKING, RERANKING, RETRIEVAL, RULES, SEEN, UNAVAILABLE
from tastemaker.decisions.record import Decision, Dropped, Trace
from tastemaker.features import trail
from tastemaker.ids import key_of

SHOWN = "shown"
NOWHERE = "sources"


@dataclass(frozen=True, slots=True)
class Signal:
    """What one source says of an item, and the item's place by it among the candidates, from 1."""

    value: float
    rank: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one item.

    `stage` is where its way ended: `shown`, `sources` (none proposed it), `unavailable`, `seen`, `excluded`,
    `retrieval`, `ranking`, `re-ranking` or another stage that dropped it; `value` is what that stage judged it by.
    `rank` is its place among the candidates by the ranker, from 1; `position` its place in the slate, from 0.
    """

    item_id: str
    stage: str
    why: str
    position: int | None = None
    rank: int | None = None
    score: float | None = None
    source: str | None = None
    signals: dict[str, Signal] | None = None
    reason: str | None = None
    propensity: float | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a slate came about. `candidates` is how many items the ranker was given; `dropped` counts items by stage.

    `detail` is `slate` where only what was shown was logged. `origin`, of a slate from the cache, is the request that
    computed it. `item` is the item that was asked about.
    """

    request_id: str
    user_id: str
    scene: str
    time: datetime
    n: int
    device: str | None
    exclude: tuple[str, ...]
    colour: str
    routing: str
    experiments: dict[str, str]
    model_version: str
    served_from: str
    degraded: tuple[str, ...]
    stage_ms: dict[str, float]
    detail: str
    origin: str
    candidates: int
    dropped: dict[str, int]
    items: tuple[Fate, ...]
    item: Fate | None = None


def explain(decision: Decision, item_id: str | None = None, *, in_catalogue: bool | None = None) -> Explanation:
    """The whole slate, and `item_id` where one is asked about.

    Args:
        in_catalogue: whether the catalogue has the item now, and may show it; None where that is not known.
    """
    return Explanation(
        request_id=decision.request_id,
        user_id=decision.user_id,
        scene=decision.scene,
        time=datetime.fromtimestamp(decision.time, UTC),
        n=decision.n,
        device=decision.device,
        exclude=tuple(decision.exclude),
        colour=decision.colour,
        routing=decision.routing,
        experiments=decision.experiments,
        model_version=decision.model_version,
        served_from=decision.served_from,
        degraded=tuple(decision.degraded),
        stage_ms=decision.stage_ms,
        detail=decision.detail,
        origin=decision.origin,
        candidates=0 if decision.trace is None else len(decision.trace.candidates),
        dropped={} if decision.trace is None else _dropped(decision.trace, decision),
        items=tuple(fate_of(decision, shown.item_id) for shown in decision.items),
        item=None if item_id is None else fate_of(decision, item_id, in_catalogue=in_catalogue),
    )


def fate_of(decision: Decision, item_id: str, *, in_catalogue: bool | None = None) -> Fate:
    """What became of one item; without full detail little is known of one that was not shown."""
    trace = decision.trace
    position = next((place for place, shown in enumerate(decision.items) if shown.item_id == item_id), None)
    if position is not None:
        return _shown(decision, position)
    if trace is None:
        origin = f"; see request {decision.origin}, which computed it" if decision.origin else ""
        return Fate(item_id, "unknown", f"Not shown. The slate was logged without its candidates{origin}.")
    if item_id in trace.slate:
        return _fallen(decision, item_id, trace.slate.index(item_id))
    for drop in trace.dropped:
        if item_id in drop.item_ids:
            return _taken(decision, drop, item_id)
    if item_id in trace.candidates:
        return _outranked(decision, trace, item_id)
    if (seen := _seen(trace, item_id)) is not None:
        return Fate(item_id, SEEN, seen)
    if item_id in decision.exclude:
        return Fate(item_id, EXCLUDED, _excluded(decision, item_id))
    why = f"No source proposed it among the {len(trace.candidates):,} candidates."
    if in_catalogue is False:
        why = f"{why} The catalogue does not have it now, or it is not available."
    return Fate(item_id, NOWHERE, why)


def _shown(decision: Decision, position: int) -> Fate:
    shown, trace = decision.items[position], decision.trace
    rank, signals = None, None
    place = f"{ordinal(position + 1)} of {len(decision.items)}, from {shown.source}"
    if trace is not None and shown.item_id in trace.candidates:
        at = trace.candidates.index(shown.item_id)
        rank, signals = at + 1, _signals(trace, at)
        why = f"{place}. {_ranked(decision, at)}."
    elif decision.origin:
        why = f"{place}, as request {decision.origin} had computed it."
    elif trace is not None:
        why = f"{place}: no candidate of the models, but a later rung of the ladder."
    else:
        why = f"{place}, with a score of {shown.score:.4g}."
    return Fate(
        shown.item_id,
        SHOWN,
        why,
        position,
        rank,
        shown.score,
        shown.source,
        signals,
        shown.reason,
        shown.propensity,
    )


def _fallen(decision: Decision, item_id: str, at: int) -> Fate:
    """An item that had a place in the models' slate."""
    place = ordinal(at + 1)
    if decision.origin and at >= decision.n:
        return Fate(item_id, RERANKING, f"{place} by the models, of whose slate the first {decision.n} were shown.")
    return Fate(item_id, UNAVAILABLE, f"{place} by the models, but no longer in the catalogue, or banned meanwhile.")


def _taken(decision: Decision, drop: Dropped, item_id: str) -> Fate:
    assert decision.trace is not None
    place = drop.item_ids.index(item_id)
    value = drop.values[place] if drop.values else None
    cause = f" ({drop.why})" if drop.why else ""
    judged = "" if value is None else f" at {value:.4g}"
    words = {
        SEEN: _seen(decision.trace, item_id) or "The user has had it.",
        EXCLUDED: _excluded(decision, item_id),
        UNAVAILABLE: "Proposed, but it had been removed from the catalogue, or was not available.",
        OUTLIVED: f"Proposed, but it came out more than {drop.why} hours before, and is not among what is read now.",
        RETRIEVAL: f"Proposed, but beyond the {len(decision.trace.candidates):,} candidates that go on.",
        RULES: f"The rule {drop.why!r} bans it.",
        CAPS: f"The slate may have {drop.why}, and has them.",
        RERANKING: _passed_over(value),
        RANKING: f"Beyond the {decision.trace.ranked} best that the ranker let go on.",
    }
    why = words.get(drop.stage, f"The stage {drop.stage}{cause} dropped it{judged}.")
    known = item_id in decision.trace.candidates
    at = decision.trace.candidates.index(item_id) if known else None
    if at is not None:
        why = f"{why} {_ranked(decision, at)}."
    return _of_candidate(decision.trace, at, Fate(item_id, drop.stage, why, value=value))


def _outranked(decision: Decision, trace: Trace, item_id: str) -> Fate:
    """A candidate that no stage took away: others were better."""
    at = trace.candidates.index(item_id)
    if at >= trace.ranked:
        last = trace.scores_of()[trace.ranked - 1] if trace.ranked else np.nan
        why = f"{_ranked(decision, at)}; the best {trace.ranked} go on, the last of them with {last:.4g}."
        return _of_candidate(trace, at, Fate(item_id, RANKING, why, value=float(at + 1)))
    return _of_candidate(trace, at, Fate(item_id, RERANKING, f"{_passed_over(None)} {_ranked(decision, at)}."))


def _excluded(decision: Decision, item_id: str) -> str:
    """The edge itself excludes what the pages before this one showed."""
    return "The caller excluded it." if item_id in decision.exclude else "An earlier page showed it."


def _passed_over(place: float | None) -> str:
    stood = "" if place is None else f"It stood {ordinal(int(place))} with what rules, freshness and repetition add. "
    return f"{stood}Others took the places: better ones, or more unlike one another."


def _of_candidate(trace: Trace, at: int | None, fate: Fate) -> Fate:
    """`fate` with what is known of the candidate at the place `at`."""
    if at is None:
        return fate
    return Fate(
        fate.item_id,
        fate.stage,
        fate.why,
        rank=at + 1,
        score=float(trace.scores_of()[at]),
        source=trace.sources[at],
        signals=_signals(trace, at),
        value=fate.value,
    )


def _ranked(decision: Decision, at: int) -> str:
    trace = decision.trace
    assert trace is not None
    by = "in the order of retrieval" if decision.served_from == "candidates" else "by the ranker"
    return f"{ordinal(at + 1)} of {len(trace.candidates):,} {by}, with a score of {trace.scores_of()[at]:.4g}"


def _signals(trace: Trace, at: int) -> dict[str, Signal]:
    signals = trace.signals_of()
    ranks = 1 + np.count_nonzero(signals > signals[:, at : at + 1], axis=1)
    return {
        name: Signal(float(value), int(rank))
        for name, value, rank in zip(trace.signal_names, signals[:, at], ranks, strict=True)
    }


def _seen(trace: Trace, item_id: str) -> str | None:
    events = trail.decode(trace.trail)
    mine = events[events["item"] == np.uint64(key_of(item_id))]
    if not len(mine):
        return None
    last = datetime.fromtimestamp(int(mine["timestamp"][-1]), UTC)
    return f"The user has had it, last on {last:%Y-%m-%d %H:%M} UTC with a preference of {mine['preference'][-1]:+.2g}."


def _dropped(trace: Trace, decision: Decision) -> dict[str, int]:
    counts = Counter({RANKING: len(trace.candidates) - trace.ranked})
    for drop in trace.dropped:
        counts[drop.stage] += len(drop.item_ids)
    shown = {item.item_id for item in decision.items}
    taken = {item_id for drop in trace.dropped for item_id in drop.item_ids}
    counts[RERANKING] += sum(item not in shown and item not in taken for item in trace.candidates[: trace.ranked])
    return dict(counts)


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, …, 11th, …"""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
