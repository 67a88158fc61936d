"""The edge keeps to its own OpenAPI document: no 5xx and no undocumented answer, whatever is sent (schemathesis).

`make fuzz` runs this with FUZZ_CASES=10000, other ones each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from .conftest import FakeRay, listening, settings_for

CASES = int(os.environ.get("FUZZ_CASES", "200"))
SEED = [] if "FUZZ_CASES" in os.environ else ["--generation-deterministic"]
API_KEY = "contract"
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.timeout(3600)
def test_answers_are_as_documented(ray: FakeRay, bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(ray.port, api_key=API_KEY)
    report = tmp_path / "report.json"
    with listening(settings, bundle_path, redis_url) as url:
        operations = sum(map(len, httpx.get(f"{url}/openapi.json").json()["paths"].values()))
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{url}/openapi.json", "--checks", "all", "--header", f"Authorization: Bearer {API_KEY}"),
            # Who was forgotten gets a newcomer's slates, and what is near to an item that has gone is still known.
            *("--exclude-checks", "use_after_free"),
            # For each call; some have less to try.
            *("--max-examples", str(CASES // 8), "--continue-on-failure", *SEED),
            *("--report", "json", "--report-json-path", str(report)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())["test_cases"]
    print(json.dumps({"operations": operations, "cases": found["generated"], "failures": found["with_failures"]}))
    assert found["generated"] >= CASES
