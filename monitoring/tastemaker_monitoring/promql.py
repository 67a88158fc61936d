"""The dashboard's queries. `$namespace` and `$__rate_interval` are Grafana's variables."""

from __future__ import annotations

from typing import Final

from tastemaker_monitoring.alerts import LISTS, PROBES, RECOMMENDATIONS

HERE: Final = 'namespace="$namespace"'
"""The installation that is looked at."""
CALLS: Final = f'{HERE}, endpoint!~"{PROBES}"'
PERSONAL: Final = f'{HERE}, scene!~"{LISTS}"'
SLATES_ASKED: Final = f'{HERE}, endpoint="{RECOMMENDATIONS}"'


def rate(counter: str, labels: str = HERE, by: str = "") -> str:
    """Events per second, summed over pods."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({counter}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, labels: str = HERE, by: str = "") -> str:
    """A quantile over pods."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, f'le, {by}' if by else 'le')})"


def highest(gauge: str, labels: str = HERE, by: str = "") -> str:
    """The largest value that a pod shows: where all of them look at the same, it is the one that is known."""
    grouping = f" by ({by})" if by else ""
    return f"max{grouping} ({gauge}{{{labels}}})"


def parts(counter: str, by: str) -> str:
    """The share of each label value, in [0, 1]."""
    return f"{rate(counter, by=by)} / scalar({rate(counter)})"


def share_of_colour(outcome: str) -> str:
    """Share of each colour's requests with this outcome; zero where there was none."""
    counter = "tastemaker_colour_requests_total"
    every = rate(counter, by="colour")
    counted = rate(counter, f'{HERE}, outcome="{outcome}"', "colour")
    return f"({counted} or 0 * {every}) / {every}"


def hourly(series: str) -> str:
    """A series that is recorded once an hour, without the gaps in between."""
    return f"last_over_time({series}{{{HERE}}}[2h])"


P99: Final = quantile(0.99, "tastemaker_request_seconds", SLATES_ASKED)
REQUESTS: Final = rate("tastemaker_request_seconds_count", CALLS)
FAILED: Final = rate("tastemaker_request_seconds_count", f'{CALLS}, code=~"5.."')
ERROR_SHARE: Final = f"({FAILED} or vector(0)) / {REQUESTS}"
# Fresh slates of the cache are no fallbacks: they are its hits.
FALLBACK_SHARE: Final = (
    f'sum (rate(tastemaker_slates_total{{{PERSONAL}, served_from!="ranked"}}[$__rate_interval])'
    f' or -rate(tastemaker_cache_total{{{HERE}, result="hit"}}[$__rate_interval]))'
    f" / {rate('tastemaker_slates_total', PERSONAL)}"
)
CLICK_THROUGH: Final = (
    f"sum (increase(tastemaker_clicks_total{{{HERE}}}[1h])) / sum (increase(tastemaker_slates_total{{{HERE}}}[1h]))"
)
FEATURE_AGE: Final = highest("tastemaker_user_features_age_seconds")
COVERAGE: Final = highest("tastemaker_catalogue_coverage_ratio")
PHASE: Final = f"{highest('tastemaker_rollout_phase', by='rollout, phase')} == 1"
UNDER_WAY: Final = f'{HERE}, phase!~"Completed|RolledBack|Failed"'
PHASE_AGE: Final = f"{highest('tastemaker_rollout_phase_seconds', UNDER_WAY, 'rollout, phase')} and {PHASE}"
ANSWERING: Final = f'sum by (component) (up{{job="tastemaker", {HERE}}})'
