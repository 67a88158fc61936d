"""Bounds on the new colour alone: errors, fallbacks and slow answers, and how much of the catalogue it shows.

A bound on a share is broken once the evidence that the true share lies above it reaches `CERTAIN`: a mixture of
likelihood ratios, which under any share within the bound ever gets there with probability 1/`CERTAIN` at most, however
often one looks (a test martingale: Shafer, Shen, Vereshchagin, Vovk, Test Martingales, Bayes Factors and p-Values,
Statistical Science 26(1), 2011). One error in five requests is no verdict then, five in five are.
"""

from __future__ import annotations

import math
from typing import Final

from tastemaker.metrics import LATENCY_BUCKETS
from tastemaker.rollout.meter import Counts, Measured
from tastemaker.rollout.resources import Guardrails

CERTAIN: Final = 1000.0
ODDS_RATIOS: Final = (1.5, 2, 4, 8, 16, 64, 256, 1024)
"""Alternatives to the share that is allowed, equally weighted: a little above it up to nearly all."""
SLOW_SHARE: Final = 0.01
"""Of the answers that may be slower than the 99th percentile's bound."""


def broken(bounds: Guardrails, measured: Measured) -> tuple[str, str] | None:
    """Reason and message of the first bound that is certainly broken."""
    for reason, name, bad, limit in _shares(bounds, measured):
        total = measured.requests
        if evidence_above(bad, total, limit) >= CERTAIN:
            return reason, f"{name} {bad / total:.1%} of {total:,} requests, more than {limit:.1%} is allowed"
    bound_s = bounds.max_p99_milliseconds / 1000
    if evidence_above(slower(measured.latency, bound_s), float(measured.latency.sum()), SLOW_SHARE) >= CERTAIN:
        p99 = _milliseconds(quantile(measured.latency, 1 - SLOW_SHARE))
        return "SlowAnswers", f"p99 {p99} of {measured.latency.sum():,.0f} answers, above {_milliseconds(bound_s)}"
    return None


def doubts(bounds: Guardrails, measured: Measured) -> list[str]:
    """What speaks against leaving a step or shadow, in words: too few requests, or a bound that looks broken."""
    if measured.requests < bounds.min_requests:
        return [f"{measured.requests:,} of {bounds.min_requests:,} requests"]
    found = [
        f"{name} {bad / measured.requests:.1%} of {measured.requests:,} requests, above {limit:.1%}, but not surely"
        for _, name, bad, limit in _shares(bounds, measured)
        if bad > limit * measured.requests
    ]
    p99 = quantile(measured.latency, 1 - SLOW_SHARE)
    if p99 * 1000 > bounds.max_p99_milliseconds:
        found.append(f"p99 {_milliseconds(p99)}, above {bounds.max_p99_milliseconds:.0f} ms, but not surely")
    return found


def narrow(bounds: Guardrails, measured: Measured, catalogue: int | None) -> tuple[bool, str] | None:
    """Whether too little of the catalogue was shown (True), or too few slates to tell (False), with a message.

    As many slates as items are due are enough to tell: each could have shown a new one. None where all is well, nothing
    is asked, or the catalogue's size is not known.
    """
    if bounds.min_coverage == 0 or not catalogue:
        return None
    due, slates = bounds.min_coverage * catalogue, float(measured.impressions.sum())
    if measured.items >= due:
        return None
    share = f"{measured.items:,} of {catalogue:,} items shown ({measured.items / catalogue:.1%})"
    return slates >= due, f"{share} in {slates:,.0f} slates, {bounds.min_coverage:.1%} are due"


def evidence_above(bad: float, total: float, limit: float) -> float:
    """The evidence (e-value) that more than a share `limit` is bad, having seen `bad` of `total`."""
    if limit >= 1 or bad <= 0:
        return 0.0
    if limit <= 0:
        return math.inf
    return sum(_likelihood_ratio(bad, total, limit, odds) for odds in ODDS_RATIOS) / len(ODDS_RATIOS)


def quantile(latency: Counts, share: float) -> float:
    """Seconds within which a `share` of the answers came, interpolated linearly within a bucket as Prometheus does.

    `latency` is `Measured.latency`. Returns 0 without answers, infinity beyond the last bucket.
    """
    counts = [float(count) for count in latency]
    rank, low = share * sum(counts), 0.0
    if rank == 0:
        return 0.0
    for high, count in zip(LATENCY_BUCKETS, counts[:-1], strict=True):
        if rank <= count:
            return low + (high - low) * rank / count
        rank, low = rank - count, high
    return math.inf


def slower(latency: Counts, bound_s: float) -> float:
    """How many answers took longer than `bound_s`, interpolated within its bucket.

    A bound beyond the last bucket is judged as if it were that bucket's edge.
    """
    counts = [float(count) for count in latency]
    beyond, low = counts[-1], 0.0
    for high, count in zip(LATENCY_BUCKETS, counts[:-1], strict=True):
        if low >= bound_s:
            beyond += count
        elif high > bound_s:
            beyond += count * (high - bound_s) / (high - low)
        low = high
    return beyond


def _shares(bounds: Guardrails, measured: Measured) -> tuple[tuple[str, str, int, float], ...]:
    return (
        ("Errors", "errors are", measured.errors, bounds.max_error_share),
        ("Fallbacks", "fallbacks are", measured.fallbacks, bounds.max_fallback_share),
    )


def _likelihood_ratio(bad: float, total: float, limit: float, odds_ratio: float) -> float:
    odds = limit / (1 - limit) * odds_ratio
    share = odds / (1 + odds)
    log_ratio = bad * math.log(share / limit) + (total - bad) * math.log((1 - share) / (1 - limit))
    return math.exp(min(log_ratio, 700.0))


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if math.isfinite(seconds) else f"over {LATENCY_BUCKETS[-1] * 1000:.0f} ms"
