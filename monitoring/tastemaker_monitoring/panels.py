"""What the Grafana dashboard shows, panel by panel. `dashboard.py` makes Grafana's JSON of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tastemaker_monitoring import promql
from tastemaker_monitoring.alerts import BASELINE_CLICK_THROUGH, DAILY_CLICK_THROUGH, WEEKLY_CLICK_THROUGH
from tastemaker_monitoring.promql import highest, hourly, parts, quantile, rate, share_of_colour

Look = Literal["lines", "stacked", "number", "phases"]
"""Lines over time; areas one on top of the other; the latest value, large; a bar for the time that something was so."""


@dataclass(frozen=True)
class Panel:
    """One panel. `queries`: PromQL by the name of its series in the legend. `unit`: one of Grafana's.

    `bad`: the bound of the alert; what is `above` it, or below, is bad.
    """

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    look: Look = "lines"
    bad: float | None = None
    above: bool = True


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


NOW = Row(
    "Now",
    [
        Panel("Requests", "Calls of the API, without probes.", "reqps", {"": promql.REQUESTS}, "number"),
        Panel(
            "Latency, 99th percentile",
            "Of recommendations. TastemakerLatencyHigh: above 150 ms.",
            "s",
            {"": promql.P99},
            "number",
            0.15,
        ),
        Panel(
            "Errors",
            "Share of server errors (5xx). TastemakerErrorsHigh: above 1%.",
            "percentunit",
            {"": promql.ERROR_SHARE},
            "number",
            0.01,
        ),
        Panel(
            "Fallbacks",
            "Slates from below the step `ranked`. TastemakerFallbacksHigh: above 5%.",
            "percentunit",
            {"": promql.FALLBACK_SHARE},
            "number",
            0.05,
        ),
        Panel(
            "Age of users' features",
            "Since the online store was last filled. TastemakerFeaturesStale: above 2 hours.",
            "s",
            {"": promql.FEATURE_AGE},
            "number",
            7200,
        ),
        Panel(
            "Coverage",
            "Share of the catalogue recommended in 24 hours. TastemakerCoverageLow: under 20%.",
            "percentunit",
            {"": promql.COVERAGE},
            "number",
            0.2,
            above=False,
        ),
    ],
)

REQUESTS = Row(
    "Requests and latency",
    [
        Panel(
            "Requests by call",
            "Route templates; probes are left out.",
            "reqps",
            {"{{endpoint}}": rate("tastemaker_request_seconds_count", promql.CALLS, "endpoint")},
        ),
        Panel(
            "Latency of recommendations",
            "From arrival at the edge to the answer. Line: bound of TastemakerLatencyHigh.",
            "s",
            {"p50": quantile(0.5, "tastemaker_request_seconds", promql.SLATES_ASKED), "p99": promql.P99},
            bad=0.15,
        ),
        Panel(
            "Errors",
            "Share of server errors in all calls. Line: bound of TastemakerErrorsHigh.",
            "percentunit",
            {"5xx": promql.ERROR_SHARE},
            bad=0.01,
        ),
        Panel(
            "Stages, 99th percentile",
            "Where the time of a request goes; serving.deployments sets the budgets.",
            "s",
            {"{{stage}}": quantile(0.99, "tastemaker_stage_seconds", by="stage")},
        ),
    ],
)

LADDER = Row(
    "The ladder",
    [
        Panel(
            "Slates by step",
            "Where slates come from: ranked or cache when all is well, lower when a stage failed or ran late.",
            "percentunit",
            {"{{served_from}}": parts("tastemaker_slates_total", "served_from")},
            "stacked",
        ),
        Panel(
            "Fallbacks",
            "Slates from below `ranked`; stale ones of the cache count, fresh ones do not. "
            "Line: bound of TastemakerFallbacksHigh.",
            "percentunit",
            {"fallbacks": promql.FALLBACK_SHARE},
            bad=0.05,
        ),
        Panel(
            "Stages that failed or ran late",
            "In requests that were answered all the same.",
            "ops",
            {"{{stage}}": rate("tastemaker_degraded_total", by="stage")},
        ),
    ],
)

CACHE = Row(
    "Cache and batches",
    [
        Panel(
            "Look-ups by result",
            "A hit is answered from Redis; a stale slate serves only as a fallback; an error: Redis is away.",
            "percentunit",
            {"{{result}}": parts("tastemaker_cache_total", "result")},
            "stacked",
        ),
        Panel(
            "Requests in one batch",
            "Mean number of requests that shared a call to the models.",
            "short",
            {"mean": f"{rate('tastemaker_batch_size_sum')} / {rate('tastemaker_batch_size_count')}"},
        ),
    ],
)

COLOURS = Row(
    "Colours",
    [
        Panel(
            "Users",
            "Per cent of the users whom edges send to each colour.",
            "percent",
            {"{{colour}}": highest("tastemaker_routing_weight", by="colour")},
        ),
        Panel(
            "Requests",
            "Requests to each colour, shadow copies included.",
            "reqps",
            {"{{colour}}": rate("tastemaker_colour_requests_total", by="colour")},
        ),
        Panel(
            "Errors",
            "Requests that a colour refused, broke off or answered too late. Guardrail: maxErrorShare.",
            "percentunit",
            {"{{colour}}": share_of_colour("error")},
        ),
        Panel(
            "Fallbacks",
            "A colour's answers from below `ranked`. Guardrail: maxFallbackShare.",
            "percentunit",
            {"{{colour}}": share_of_colour("fallback")},
        ),
        Panel(
            "Latency, 99th percentile",
            "Of a colour's answers to the edge. Guardrail: maxP99Milliseconds.",
            "s",
            {"{{colour}}": quantile(0.99, "tastemaker_colour_seconds", by="colour")},
        ),
        Panel(
            "Click-through of both",
            "Clicks per slate over an hour. How the colours compare, user by user and with the interval, "
            "is the column LIFT of `kubectl get modelrollouts`.",
            "percentunit",
            {"both colours": promql.CLICK_THROUGH},
        ),
    ],
)

ROLLOUTS = Row(
    "Rollouts",
    [
        Panel("Phase", "The phase of each rollout.", "short", {"{{rollout}}: {{phase}}": promql.PHASE}, "phases"),
        Panel(
            "Time in the phase or step",
            "TastemakerRolloutStuck: more than half an hour; a step or a pause, more than a day.",
            "s",
            {"{{rollout}}: {{phase}}": promql.PHASE_AGE},
        ),
    ],
)

FRESHNESS = Row(
    "Freshness",
    [
        Panel(
            "Event to effect",
            "From the arrival in the stream to the effect on the next slate. Line: bound of TastemakerIngestSlow.",
            "s",
            {f"p{share * 100:.0f}": quantile(share, "tastemaker_event_lag_seconds") for share in (0.5, 0.95)},
            bad=30,
        ),
        Panel(
            "Backlog",
            "Events that a group of the ingest worker has not read yet. Line: bound of TastemakerIngestBacklog.",
            "short",
            {"{{group}}": highest("tastemaker_stream_backlog_events", by="group")},
            bad=50_000,
        ),
        Panel(
            "Events",
            "What became of events at the edge and in the ingest worker.",
            "ops",
            {"{{result}}": rate("tastemaker_events_total", by="result")},
        ),
        Panel(
            "Followers",
            "Replicas that follow the stream, for candidates of the source `stream`.",
            "short",
            {"{{state}}": highest("tastemaker_followers", by="state")},
        ),
        Panel(
            "Followers' lag",
            "Age of the oldest events that one of them has not taken in. Line: bound of TastemakerFollowerBehind.",
            "s",
            {"lag": highest("tastemaker_follower_lag_seconds")},
            bad=60,
        ),
        Panel(
            "Age of users' features",
            "Since the online store was last filled. Line: bound of TastemakerFeaturesStale.",
            "s",
            {"age": promql.FEATURE_AGE},
            bad=7200,
        ),
    ],
)

QUALITY = Row(
    "Clicks, coverage and pods",
    [
        Panel(
            "Click-through",
            "Clicks per slate. TastemakerClickThroughLow: 7 days more than 10% under the baseline.",
            "percentunit",
            {
                "1 day": hourly(DAILY_CLICK_THROUGH),
                "7 days": hourly(WEEKLY_CLICK_THROUGH),
                "baseline": hourly(BASELINE_CLICK_THROUGH),
            },
        ),
        Panel(
            "Coverage",
            "Share of the catalogue recommended in the last 24 hours. Line: bound of TastemakerCoverageLow.",
            "percentunit",
            {"coverage": promql.COVERAGE},
            bad=0.2,
            above=False,
        ),
        Panel(
            "Pods that answer",
            "Targets that Prometheus reaches, by component.",
            "short",
            {"{{component}}": promql.ANSWERING},
        ),
    ],
)

ROWS: Final = (NOW, REQUESTS, LADDER, CACHE, COLOURS, ROLLOUTS, FRESHNESS, QUALITY)
