"""Prometheus rules as data, and as the YAML that Prometheus and a PrometheusRule take.

Format: https://prometheus.io/docs/prometheus/latest/configuration/recording_rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import Any, Final, Literal

import yaml

RUNBOOK: Final = "https://tastemaker.dev/runbook"
"""Where docs/runbook.md is published; the chart puts an address of one's own in its place."""

Severity = Literal["critical", "warning", "info"]
"""critical: users are hurt, now; warning: they will be, look today; info: worth knowing."""


@dataclass(frozen=True)
class Record:
    """A series that Prometheus computes and keeps. Its name is level:metric:operations."""

    name: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """What somebody shall be told, once `expr` has had an answer for the time `lasting` (such as 5m), or at once."""

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    lasting: str | None = None


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated one after the other; every `interval`, or as often as Prometheus usually does."""

    name: str
    rules: Sequence[Record | Alert]
    interval: str | None = None


def anchor_of(alert: str) -> str:
    """The runbook's anchor of an alert, as Markdown renderers make it of a heading."""
    return alert.lower()


def document(groups: Sequence[Group]) -> dict[str, Any]:
    """The groups as a rules file, or as the `spec` of a PrometheusRule."""
    return {"groups": [_group(group) for group in groups]}


def to_yaml(rules: dict[str, Any], comment: str) -> str:
    """A rules file, queries written over several lines as they were."""
    return f"# {comment}\n" + yaml.dump(rules, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _group(group: Group) -> dict[str, Any]:
    interval = {} if group.interval is None else {"interval": group.interval}
    return {"name": group.name, **interval, "rules": [_rule(rule) for rule in group.rules]}


def _rule(rule: Record | Alert) -> dict[str, Any]:
    expr = dedent(rule.expr).strip()
    if isinstance(rule, Record):
        return {"record": rule.name, "expr": expr}
    lasting = {} if rule.lasting is None else {"for": rule.lasting}
    return {
        "alert": rule.name,
        "expr": expr,
        **lasting,
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": f"{RUNBOOK}#{anchor_of(rule.name)}",
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
