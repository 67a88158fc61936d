"""Every query asks for metrics and labels that the platform has."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from tastemaker import metrics
from tastemaker_monitoring import alerts
from tastemaker_monitoring.panels import ROWS
from tastemaker_monitoring.rules import Record

SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
OF_TARGET = {"namespace", "component", "pod", "job"}


def known() -> dict[str, set[str]]:
    """Label names by series name."""
    series = {"up": OF_TARGET}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for suffix in SUFFIXES[family.type]:
                series[family.name + suffix] = {*metric._labelnames, *OF_TARGET} | (
                    {"le"} if suffix == "_bucket" else set()
                )
    for group in alerts.GROUPS:
        series |= {rule.name: {"namespace"} for rule in group.rules if isinstance(rule, Record)}
    return series | {alerts.CONFIGURED_CLICK_THROUGH: {"namespace"}}


def queries() -> Iterator[str]:
    for group in alerts.GROUPS:
        yield from (rule.expr for rule in group.rules)
    for row in ROWS:
        for panel in row.panels:
            yield from panel.queries.values()


QUERIES = list(queries())
KNOWN = known()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_there_is(query: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', query)
    asked = re.findall(r"\b((?:namespace:)?tastemaker_\w+(?::\w+)?|up\b)(?:\{([^}]*)\})?", bare)
    assert asked
    for name, matchers in asked:
        assert name in KNOWN
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= KNOWN[name]
    labels = set().union(*(KNOWN[name] for name, _ in asked))
    for grouping in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(grouping.replace(" ", "").split(",")) <= labels


@pytest.mark.parametrize("name", ["tastemaker_request_seconds_bucket", "tastemaker_clicks_total", "up"])
def test_known_names_are_as_prometheus_sees_them(name: str) -> None:
    assert name in KNOWN


def test_prometheus_accepts_every_query_of_the_dashboard(tmp_path: Path, promtool: str) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m").replace("$namespace", "shop")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
