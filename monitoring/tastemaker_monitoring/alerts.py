"""Every alert of Tastemaker. docs/runbook.md says of each what to do; monitoring/tests/ when it fires and when not.

The rules expect of a scraped target the labels `job="tastemaker"`, `namespace`, `pod` and `component` (edge, ingest,
operator …), which the chart's PodMonitor sets, and one installation in a namespace.
"""

from __future__ import annotations

from typing import Final

from tastemaker.scenes import SEARCH, SIMILAR, TRENDING
from tastemaker_monitoring.rules import Alert, Group, Record

RECOMMENDATIONS: Final = "/v1/users/{user_id}/recommendations"
PROBES: Final = "/healthz|/readyz|/metrics"
LISTS: Final = f"{SIMILAR}|{SEARCH}|{TRENDING}"
"""Scenes whose lists are of the edge's own making: where nobody is named, no model is asked."""

DAILY_CLICK_THROUGH: Final = "namespace:tastemaker_click_through:ratio_1d"
WEEKLY_CLICK_THROUGH: Final = "namespace:tastemaker_click_through:ratio_7d"
BASELINE_CLICK_THROUGH: Final = "namespace:tastemaker_click_through:baseline"
CONFIGURED_CLICK_THROUGH: Final = "namespace:tastemaker_click_through:configured_baseline"
"""A number of one's own, in a rule of one's own (the chart makes it of a value); it beats the measured baseline."""

REQUESTS = Group(
    "tastemaker-requests",
    [
        Alert(
            "TastemakerLatencyHigh",
            "critical",
            # Two minutes, so that a burst is over here soon after it is over; `lasting` asks for persistence.
            f"""
            histogram_quantile(0.99, sum by (namespace, le) (
              rate(tastemaker_request_seconds_bucket{{endpoint="{RECOMMENDATIONS}"}}[2m])
            )) > 0.15
            """,
            "Recommendations are slow",
            "The 99th percentile of the latency of recommendations in {{ $labels.namespace }} is "
            "{{ $value | humanizeDuration }}; it has been above 150 ms for 5 minutes.",
            "5m",
        ),
        Alert(
            "TastemakerErrorsHigh",
            "critical",
            f"""
            sum by (namespace) (rate(tastemaker_request_seconds_count{{code=~"5..", endpoint!~"{PROBES}"}}[5m]))
              / sum by (namespace) (rate(tastemaker_request_seconds_count{{endpoint!~"{PROBES}"}}[5m])) > 0.01
            """,
            "Requests fail",
            "{{ $value | humanizePercentage }} of the requests in {{ $labels.namespace }} end in a server error "
            "(more than 1% for 5 minutes).",
            "5m",
        ),
        Alert(
            "TastemakerFallbacksHigh",
            "warning",
            # served_from="cache" is a fresh slate or a stale one; a fresh one is a hit of the cache and no fallback.
            f"""
            sum by (namespace) (
              rate(tastemaker_slates_total{{served_from!="ranked", scene!~"{LISTS}"}}[5m])
                or -rate(tastemaker_cache_total{{result="hit"}}[5m])
            ) / sum by (namespace) (rate(tastemaker_slates_total{{scene!~"{LISTS}"}}[5m])) > 0.05
            """,
            "Slates are not ranked",
            "{{ $value | humanizePercentage }} of the slates in {{ $labels.namespace }} come from a lower step of the "
            "fallback ladder than `ranked` (more than 5% for 10 minutes).",
            "10m",
        ),
    ],
)

CLICK_THROUGH = Group(
    "tastemaker-click-through",
    [
        Record(
            DAILY_CLICK_THROUGH,
            # Without any click the share is zero; without any slate there is none.
            """
            (sum by (namespace) (increase(tastemaker_clicks_total[1d]))
              or 0 * sum by (namespace) (increase(tastemaker_slates_total[1d])))
              / (sum by (namespace) (increase(tastemaker_slates_total[1d])) > 0)
            """,
        ),
        Record(
            WEEKLY_CLICK_THROUGH,
            # Of fewer than three days nothing is concluded (one sample an hour).
            f"""
            avg_over_time({DAILY_CLICK_THROUGH}[7d])
              and count_over_time({DAILY_CLICK_THROUGH}[7d]) >= 72
            """,
        ),
        Record(
            BASELINE_CLICK_THROUGH,
            f"""
            {CONFIGURED_CLICK_THROUGH} or (
              avg_over_time({DAILY_CLICK_THROUGH}[28d] offset 7d)
                and count_over_time({DAILY_CLICK_THROUGH}[28d] offset 7d) >= 168
            )
            """,
        ),
        Alert(
            "TastemakerClickThroughLow",
            "warning",
            f"100 * {WEEKLY_CLICK_THROUGH} / {BASELINE_CLICK_THROUGH} < 90",
            "Users click less",
            'The click-through of the last 7 days in {{ $labels.namespace }} is {{ printf "%.1f" $value }}% of its '
            "baseline (the 28 days before, or the configured one): more than 10% under it.",
        ),
    ],
    # The daily share moves slowly, and 35 days of it are read at each evaluation.
    interval="1h",
)

COVERAGE = Group(
    "tastemaker-coverage",
    [
        Alert(
            "TastemakerCoverageLow",
            "info",
            # An installation younger than a day has had no chance to show more.
            """
            max by (namespace) (tastemaker_catalogue_coverage_ratio) < 0.2
              and sum by (namespace) (tastemaker_slates_total offset 1d)
            """,
            "Few items are ever recommended",
            "{{ $value | humanizePercentage }} of the catalogue in {{ $labels.namespace }} were recommended in the "
            "last 24 hours (less than 20%).",
        ),
    ],
)

FRESHNESS = Group(
    "tastemaker-freshness",
    [
        Alert(
            "TastemakerFeaturesStale",
            "warning",
            "max by (namespace) (tastemaker_user_features_age_seconds) > 7200",
            "Users' features are old",
            "The features of users in {{ $labels.namespace }} were put online {{ $value | humanizeDuration }} ago "
            "(more than 2 hours).",
        ),
        Alert(
            "TastemakerIngestBacklog",
            "warning",
            "max by (namespace, group) (tastemaker_stream_backlog_events) > 50000",
            "Events wait to be read",
            "{{ $value | humanize }} events in {{ $labels.namespace }} have not been read by the group "
            "{{ $labels.group }} of the ingest worker (more than 50,000 for 10 minutes).",
            "10m",
        ),
        Alert(
            "TastemakerEventsHeldBack",
            "critical",
            """
            sum by (namespace) (rate(tastemaker_events_total{result="held back"}[5m])) > 0
            """,
            "Events are held back",
            "{{ $value | humanize }} events/s in {{ $labels.namespace }} have been answered with 429 for 5 minutes: "
            "too many wait, or Redis is full.",
            "5m",
        ),
        Alert(
            "TastemakerDeadLetters",
            "warning",
            """
            sum by (namespace) (increase(tastemaker_events_total{result="unreadable"}[1h])) > 0
            """,
            "Something in the stream was no event",
            "{{ $value | humanize }} dead letters in {{ $labels.namespace }} in the last hour.",
        ),
        Alert(
            "TastemakerIngestSlow",
            "warning",
            """
            histogram_quantile(0.95, sum by (namespace, le) (rate(tastemaker_event_lag_seconds_bucket[5m]))) > 30
            """,
            "Events take effect late",
            "The slowest 5% of the events in {{ $labels.namespace }} take {{ $value | humanizeDuration }} or more to "
            "reach the next slate (more than 30 s for 5 minutes).",
            "5m",
        ),
        Alert(
            "TastemakerFollowerBehind",
            "warning",
            # One that was killed counts for 10 minutes more, of which it is late for 9.
            "max by (namespace) (tastemaker_follower_lag_seconds) > 60",
            "News follow what is read late",
            "A replica in {{ $labels.namespace }} that makes candidates of the source `stream` has not taken in events "
            "of {{ $value | humanizeDuration }} ago (more than a minute for 10 minutes).",
            "10m",
        ),
    ],
)

ROLLOUTS = Group(
    "tastemaker-rollouts",
    [
        Alert(
            "TastemakerRolloutStuck",
            "warning",
            # A step waits for its duration and for traffic, a pause for a person; the other phases only for machines.
            """
            (
              max by (namespace, rollout, phase)
                (tastemaker_rollout_phase_seconds{phase=~"Pending|Preparing|Warming|Promoting|RollingBack"}) > 1800
              or max by (namespace, rollout, phase)
                (tastemaker_rollout_phase_seconds{phase=~"Shadow|Progressing|Paused"}) > 86400
            ) and max by (namespace, rollout, phase) (tastemaker_rollout_phase) == 1
            """,
            "A rollout does not get on",
            "The rollout {{ $labels.rollout }} in {{ $labels.namespace }} has been in the same step of the phase "
            "{{ $labels.phase }} for {{ $value | humanizeDuration }}.",
        ),
        Alert(
            "TastemakerRolloutRolledBack",
            "info",
            # For an hour: the resource keeps its phase until somebody deletes it.
            """
            max by (namespace, rollout) (tastemaker_rollout_phase{phase="RolledBack"}) == 1
              and max by (namespace, rollout) (tastemaker_rollout_phase_seconds{phase="RolledBack"}) < 3600
            """,
            "A rollout was rolled back",
            "The rollout {{ $labels.rollout }} in {{ $labels.namespace }} was rolled back; its status says why.",
        ),
    ],
)

TARGETS = Group(
    "tastemaker-targets",
    [
        Alert(
            "TastemakerTargetDown",
            "warning",
            'max by (namespace, component, pod) (up{job="tastemaker"}) == 0',
            "A pod does not answer Prometheus",
            "The pod {{ $labels.pod }} ({{ $labels.component }}) in {{ $labels.namespace }} has not answered for "
            "5 minutes.",
            "5m",
        ),
        Alert(
            "TastemakerComponentDown",
            "critical",
            # Pods that are gone have no `up`; a component that had one within the hour is missed.
            """
            max by (namespace, component) (max_over_time(up{job="tastemaker"}[1h])) == 1
              unless max by (namespace, component) (up{job="tastemaker"}) == 1
            """,
            "No pod of a component answers Prometheus",
            "The component {{ $labels.component }} in {{ $labels.namespace }} has had no pod that answers "
            "for 5 minutes.",
            "5m",
        ),
    ],
)

GROUPS: Final = (REQUESTS, CLICK_THROUGH, COVERAGE, FRESHNESS, ROLLOUTS, TARGETS)
