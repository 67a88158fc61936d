"""Whoever is woken finds what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tastemaker_monitoring import alerts, cli
from tastemaker_monitoring.rules import RUNBOOK, Alert, anchor_of

ALERTS = {rule.name: rule for group in alerts.GROUPS for rule in group.rules if isinstance(rule, Alert)}


def entries(house: Path) -> dict[str, str]:
    """Text by heading of the second level."""
    parts = re.split(r"^## (.+)$", (house / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_its_entry(alert: str, house: Path) -> None:
    entry = entries(house)[alert]
    for part in ("**What it means.**", "**How to see it.**", "**What to do.**"):
        assert part in entry
    assert f"`{ALERTS[alert].severity}`" in entry


def test_no_entry_is_about_an_alert_that_is_gone(house: Path) -> None:
    assert {heading for heading in entries(house) if heading.startswith("Tastemaker")} == set(ALERTS)


def test_each_alert_links_to_its_entry() -> None:
    rules = [rule for group in yaml.safe_load(cli.files()[cli.RULES_FILE])["groups"] for rule in group["rules"]]
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert links == {name: f"{RUNBOOK}#{anchor_of(name)}" for name in ALERTS}
