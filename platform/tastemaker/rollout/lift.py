"""How the new colour's click-through compares with the old one's, and whether users were split as intended.

Both answers hold at every look, however often one looks: the leader looks once a second and acts on the first look that
is clear, which with an ordinary confidence interval would find "significance" sooner or later in pure noise.

Click-through is clicks per slate, a ratio of two sums over users. Users are independent, slates of one user are not, so
the variance comes from the sums of user buckets by the delta method (Deng, Knoblich, Lu, Applying the Delta Method in
Metric Analytics, KDD 2018). The interval is the normal mixture of Robbins as always-valid inference uses it (Johari,
Koomen, Pekelis, Walsh, Always Valid Inference: Continuous Monitoring of A/B Tests, Operations Research 70(3), 2022).
That it holds for estimated variances is asymptotic (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central
limit theory and asymptotic confidence sequences, Annals of Statistics 52(6), 2024), so nothing is concluded before each
colour had `MIN_CLICKS` expected clicks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tastemaker.rollout.meter import MOST_USERS, Counts, Measured

MIN_CLICKS: Final = 30.0
"""Expected clicks of a colour, were both alike, from which on a normal approximation is trusted."""
SMALLEST_TAU: Final = 0.02
MISMATCH: Final = 1000.0
"""An e-value from here on says that users were not split as intended: under a correct split it is ever reached with
probability 1/1000 at most (Ville's inequality)."""
CONCENTRATIONS: Final = (10.0, 1000.0)
"""Weights, in users, of the priors around the intended split: one expects a split that is plainly wrong and sees it
after some tens of users, one expects a share that is off by a few per cent. The mean of two e-values is one, too."""


@dataclass(frozen=True)
class Lift:
    """Relative change of click-through, candidate against stable, with an always-valid interval; -0.03 is 3 % less."""

    change: float
    low: float
    high: float
    variance: float = 0.0
    """Of `change`."""

    def __str__(self) -> str:
        return f"{self.change:+.1%} [{self.low:+.1%}, {_bounded(self.high)}]"


def lift(candidate: Measured, stable: Measured, alpha: float, tau: float) -> Lift | None:
    """The lift with an interval that covers the truth at all looks together with probability 1 - `alpha`.

    Args:
        tau: standard deviation of the mixture on the relative scale: the size of change that the interval is sharpest
            for. It must not depend on the data. `tau_for` derives it from the loss that is to be ruled out.

    Returns None as long as a colour has too few slates or clicks to say anything.
    """
    shown_new, shown_old = float(candidate.impressions.sum()), float(stable.impressions.sum())
    clicks_new, clicks_old = float(candidate.clicks.sum()), float(stable.clicks.sum())
    if min(shown_new, shown_old) <= 0 or clicks_old <= 0:
        return None
    pooled = (clicks_new + clicks_old) / (shown_new + shown_old)
    if pooled * min(shown_new, shown_old) < MIN_CLICKS:
        return None
    rate_new, rate_old = clicks_new / shown_new, clicks_old / shown_old
    ratio = rate_new / rate_old
    # A rate that is low by chance has a variance that is low by chance, which would make a loss look certain too soon:
    # so neither the ratio nor a colour's variance counts for less than it would if both colours were alike.
    variance = (
        _variance_of_rate(candidate.impressions, candidate.clicks, rate_new, pooled)
        + _variance_of_rate(stable.impressions, stable.clicks, rate_old, pooled) * max(1.0, ratio**2)
    ) / rate_old**2
    half = half_width(variance, alpha, tau)
    return Lift(ratio - 1, max(-1.0, ratio - 1 - half), ratio - 1 + half, variance)


def half_width(variance: float, alpha: float, tau: float) -> float:
    """Half the width of the always-valid interval of an estimate with this variance (Johari et al., 2022, eq. 8)."""
    whole = variance + tau**2
    return math.sqrt(variance * whole / tau**2 * math.log(whole / (variance * alpha**2)))


def traffic_needed(found: Lift, max_loss: float, alpha: float, tau: float) -> float:
    """How many times the traffic so far it takes until a loss of `max_loss` is ruled out, if nothing else changes;
    infinite where the change itself is no better than that."""
    room = found.change + max_loss
    if room <= 0:
        return math.inf
    factor = 1.0
    while half_width(found.variance / factor, alpha, tau) >= room:
        factor *= 1.1
    return factor


def tau_for(max_loss: float) -> float:
    """The mixture's standard deviation. The interval is tightest, for its variance, where it is about as wide as `tau`:
    that is when a loss of `max_loss` can just be ruled out."""
    return max(SMALLEST_TAU, max_loss)


def mismatch(candidate_users: int, stable_users: int, weight: float) -> float:
    """The evidence (e-value) that users are not split `weight` : 100 - `weight`, valid at every look.

    It is the Bayes factor of a Beta prior around the intended share against that share itself, a martingale when the
    split is right (Lindon, Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022). Returns 1, no
    evidence, where there is nothing to compare: no control group, or more users than edges tell apart.
    """
    if not 0 < weight < 100 or max(candidate_users, stable_users) >= MOST_USERS:
        return 1.0
    of_priors = [_split_evidence(candidate_users, stable_users, weight / 100, prior) for prior in CONCENTRATIONS]
    return sum(of_priors) / len(of_priors)


def _variance_of_rate(impressions: Counts, clicks: Counts, rate: float, pooled: float) -> float:
    """Variance of clicks per impression; buckets without users count, for they might have had some."""
    buckets, shown = len(impressions), float(impressions.sum())
    residuals = clicks - rate * impressions
    of_buckets = buckets / (buckets - 1) * float(residuals @ residuals) / shown**2
    of_one_click_each = pooled * max(0.0, 1 - pooled) / shown
    return max(of_buckets, of_one_click_each)


def _split_evidence(candidate_users: int, stable_users: int, share: float, concentration: float) -> float:
    new, old = concentration * share, concentration * (1 - share)
    log_evidence = (
        _log_beta(new + candidate_users, old + stable_users)
        - _log_beta(new, old)
        - candidate_users * math.log(share)
        - stable_users * math.log1p(-share)
    )
    return math.exp(min(log_evidence, 700.0))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _bounded(high: float) -> str:
    return f"{high:+.1%}" if high < 10 else "+1000% or more"
