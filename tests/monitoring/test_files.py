"""What the chart installs is what the code says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard
from typer.testing import CliRunner

from tastemaker_monitoring import cli, dashboard
from tastemaker_monitoring.panels import ROWS


@pytest.mark.parametrize("name", [cli.RULES_FILE, cli.DASHBOARD_FILE])
def test_the_charts_file_is_the_rendered_one(name: str, house: Path) -> None:
    written = house / "helm" / "tastemaker" / "files" / name
    assert written.read_text() == cli.files()[name], "run `tastemaker monitoring render`"


def test_render_writes_both_files(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli.monitoring, ["--into", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert list(yaml.safe_load((tmp_path / cli.RULES_FILE).read_text())) == ["groups"]
    assert json.loads((tmp_path / cli.DASHBOARD_FILE).read_text())["uid"] == "tastemaker"


def test_the_command_line_has_the_group() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tastemaker.cli", "monitoring", "--help"], capture_output=True, text=True, check=True
    )
    assert "render" in shown.stdout


def test_every_panel_is_on_the_dashboard_with_its_unit_and_meaning() -> None:
    panels = json.loads(dashboard.to_json())["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert rows == [row.title for row in ROWS]
    assert [panel["title"] for panel in shown] == [panel.title for row in ROWS for panel in row.panels]
    for panel in shown:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_panels_fill_the_width_and_lie_beside_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard.to_json())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    lines = {y for _, y in taken}
    assert taken == {(x, y) for x in range(dashboard.WIDTH) for y in lines}


def test_grafanas_own_model_reads_the_dashboard() -> None:
    read = Dashboard.from_json(json.loads(dashboard.to_json()))
    assert [variable.name for variable in read.templating.list_val or []] == ["datasource", "namespace"]
