"""Every Prometheus metric: its name, labels, unit and help.

Names end in their unit (https://prometheus.io/docs/practices/naming). Labels take few values: a user, an item or a
request never appears in one.
"""

from __future__ import annotations

import math
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
"""Seconds, 1 ms to 2 s: finest around the budgets of a stage (2 to 30 ms) and of a request (100 ms)."""

REQUEST_SECONDS: Final = Histogram(
    "tastemaker_request_seconds",
    "Time from the request's arrival at the edge to its answer, by route template and HTTP status code",
    ["endpoint", "code"],
    buckets=LATENCY_BUCKETS,
)
STAGE_SECONDS: Final = Histogram(
    "tastemaker_stage_seconds", "Time spent in one stage of a request", ["stage"], buckets=LATENCY_BUCKETS
)
SLATES: Final = Counter(
    "tastemaker_slates_total", "Slates answered, by the rung of the fallback ladder", ["served_from", "scene"]
)
DEGRADED: Final = Counter(
    "tastemaker_degraded_total", "Stages that failed or ran late in an answered request", ["stage"]
)
CACHE: Final = Counter("tastemaker_cache_total", "Look-ups in the slate cache: hit, miss, stale or error", ["result"])
BATCH_SIZE: Final = Histogram(
    "tastemaker_batch_size", "Requests that shared one call to Ray Serve", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
KERNEL_BATCH_USERS: Final = Histogram(
    "tastemaker_kernel_batch_users",
    "Users, of one or several calls, that shared one kernel call of a KServe model",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
EVENTS: Final = Counter(
    "tastemaker_events_total",
    "Events, by what became of them: accepted, refused or held back at the edge; applied to the online state, "
    "duplicate, forgotten (of before its user asked for that), stored in the lake or unreadable (a dead letter) in the "
    "ingest worker; not followed by a replica that "
    "could not take it in; event_type is empty where it is not a declared one, or where nobody looked",
    ["event_type", "result"],
)
EVENT_LAG_SECONDS: Final = Histogram(
    "tastemaker_event_lag_seconds",
    "Time from the arrival of a request's events in the stream to their effect on the online state",
    buckets=(*LATENCY_BUCKETS, 5.0, 30.0, 300.0),
)
STREAM_BACKLOG_EVENTS: Final = Gauge(
    "tastemaker_stream_backlog_events", "Events in the stream that a consumer group is not done with", ["group"]
)
FOLLOWERS: Final = Gauge(
    "tastemaker_followers",
    "Replicas that follow the stream, for candidates of the source `stream`: caught up, or still catching up",
    ["state"],
)
FOLLOWER_LAG_SECONDS: Final = Gauge(
    "tastemaker_follower_lag_seconds",
    "Age of the oldest events in the stream that the slowest follower has not taken in, 0 where there are none; NaN "
    "where nobody follows or nobody knows",
)
USER_FEATURES_AGE_SECONDS: Final = Gauge(
    "tastemaker_user_features_age_seconds",
    "Time since the online store was last filled with users' features; NaN where nobody knows",
)
CATALOGUE_COVERAGE_RATIO: Final = Gauge(
    "tastemaker_catalogue_coverage_ratio",
    "Share of the catalogue that slates showed in the last 24 hours; NaN where nobody knows",
)
# Every process has every metric; one that never observes these must not claim an age or a share of zero.
USER_FEATURES_AGE_SECONDS.set(math.nan)
CATALOGUE_COVERAGE_RATIO.set(math.nan)
FOLLOWER_LAG_SECONDS.set(math.nan)

CLICKS: Final = Counter(
    "tastemaker_clicks_total", "Users who took to an item of a slate, once per item and day", ["scene"]
)
DECISIONS: Final = Counter(
    "tastemaker_decisions_total",
    "Decisions by detail (full or slate) and what became of them: logged in Redis or dropped by the edge, stored in "
    "the lake by the ingest worker",
    ["detail", "result"],
)
CHANGES: Final = Counter(
    "tastemaker_changes_total",
    "Changes of rows by table (items or profiles) and what became of them in the ingest worker: stored in the lake, or "
    "unreadable and passed over",
    ["table", "result"],
)
COLOUR_REQUESTS: Final = Counter(
    "tastemaker_colour_requests_total",
    "Requests that the edge sent to a colour, by outcome: ok, fallback (a lower rung than ranked) or error",
    ["colour", "outcome"],
)
COLOUR_SECONDS: Final = Histogram(
    "tastemaker_colour_seconds", "Time that a colour took to answer the edge", ["colour"], buckets=LATENCY_BUCKETS
)
ROUTING_WEIGHT: Final = Gauge(
    "tastemaker_routing_weight", "Per cent of the users whom the edge sends to a colour", ["colour"]
)
ROLLOUT_PHASE: Final = Gauge(
    "tastemaker_rollout_phase", "1 for the phase that a rollout is in, 0 for the others", ["rollout", "phase"]
)
ROLLOUT_PHASE_SECONDS: Final = Gauge(
    "tastemaker_rollout_phase_seconds",
    "Time since a rollout entered its phase or step, final phases included",
    ["rollout", "phase"],
)
