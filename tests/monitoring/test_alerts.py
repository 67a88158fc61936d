"""The alerts themselves are specified in monitoring/tests; here promtool runs those."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tastemaker_monitoring import alerts
from tastemaker_monitoring.rules import Alert

SPECIFICATIONS = sorted((Path(__file__).parents[2] / "monitoring" / "tests").glob("*.yaml"))
ALERTS = [rule for group in alerts.GROUPS for rule in group.rules if isinstance(rule, Alert)]
UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def seconds(duration: str) -> int:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


def file_of(alert: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", alert.removeprefix("Tastemaker")).lower() + ".yaml"


def test_prometheus_accepts_the_rules(house: Path, promtool: str) -> None:
    rules = house / "helm" / "tastemaker" / "files" / "rules" / "tastemaker.yaml"
    checked = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_not_before(specification: Path, promtool: str) -> None:
    tested = subprocess.run([promtool, "test", "rules", specification], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_its_specification() -> None:
    assert {file.name for file in SPECIFICATIONS} == {file_of(alert.name) for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_specification_is_silent_just_before_and_fires_just_after(alert: Alert) -> None:
    specification = next(file for file in SPECIFICATIONS if file.name == file_of(alert.name))
    document: Any = yaml.safe_load(specification.read_text())
    tests = document["tests"][0]["alert_rule_test"]
    silent = {seconds(test["eval_time"]) for test in tests if not test["exp_alerts"]}
    first = min(seconds(test["eval_time"]) for test in tests if test["exp_alerts"])
    assert {test["alertname"] for test in tests} == {alert.name}
    assert first - seconds(document["evaluation_interval"]) in silent


def test_the_four_alerts_that_the_platform_promises() -> None:
    promised = {
        "TastemakerLatencyHigh": ("critical", "5m", "> 0.15"),
        "TastemakerClickThroughLow": ("warning", None, "< 90"),
        "TastemakerFeaturesStale": ("warning", None, "> 7200"),
        "TastemakerCoverageLow": ("info", None, "< 0.2"),
    }
    kept = {alert.name: alert for alert in ALERTS}
    for name, (severity, lasting, bound) in promised.items():
        assert (kept[name].severity, kept[name].lasting) == (severity, lasting)
        assert bound in kept[name].expr


def test_the_latency_is_that_of_the_call_that_the_edge_serves() -> None:
    from tastemaker_serving.edge import routes

    assert alerts.RECOMMENDATIONS == routes.RECOMMENDATIONS
