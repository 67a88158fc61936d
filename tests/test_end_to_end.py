"""The whole path once, as a user walks it: import → train → serve → event → new slate → Ray dead → still a slate."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

SAMPLE = Path(__file__).parents[1] / "data" / "movielens-small"
USER = "143"
START_TIMEOUT_S = 240
pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Installation:
    """A state directory of its own, and ports that nobody uses."""

    environment: dict[str, str]
    url: str

    def run(self, *arguments: str, expect: int = 0) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "tastemaker.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, done.stderr[-2000:]
        return done.stdout if expect == 0 else done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on."""
        return subprocess.Popen([sys.executable, "-m", "tastemaker.cli", *arguments], env=self.environment)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    edge, models = free_port(), free_port()
    environment = os.environ | {
        "TASTEMAKER_HOME": str(tmp_path_factory.mktemp("home")),
        "TASTEMAKER_EDGE__PORT": str(edge),
        "TASTEMAKER_SERVING__PORT": str(models),
        # A busy machine must not make a slate fall a step that this test looks at.
        "TASTEMAKER_EDGE__DEADLINE_MS": "5000",
        "TASTEMAKER_SERVING__DEPLOYMENTS__RANKER__TIMEOUT_MS": "4000",
        "TASTEMAKER_SERVING__DEPLOYMENTS__CANDIDATE_GENERATOR__TIMEOUT_MS": "4000",
        "TASTEMAKER_SERVING__DEPLOYMENTS__RECOMMENDER__TIMEOUT_MS": "4000",
    }
    return Installation(environment, f"http://127.0.0.1:{edge}")


@pytest.fixture(scope="module")
def trained(installation: Installation) -> dict[str, Any]:
    report = json.loads(installation.run("data", "import", "--format", "movielens", str(SAMPLE), "--json"))
    assert (report["events"], report["items"]) == (100_836, 9_742)
    answer: dict[str, Any] = json.loads(installation.run("train", "--recipe", "smoke", "--json"))
    return answer


@pytest.fixture(scope="module")
def served(installation: Installation, trained: dict[str, Any]) -> Iterator[psutil.Process]:
    process = installation.start("serve")
    try:
        wait_for(lambda: ready(installation.url) == "ready", START_TIMEOUT_S)
        yield psutil.Process(process.pid)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.wait(90)
        _, left = psutil.wait_procs(family, timeout=10)
        for stray in left:
            stray.kill()
    assert process.returncode == 0
    assert left == []


def test_training_beats_popularity_and_says_so(trained: dict[str, Any]) -> None:
    models = trained["report"]["models"]
    assert set(models) == {"popularity", "als", "two-tower", "served"}
    for metric in ("recall@20", "ndcg@20"):
        assert models["served"][metric] > models["popularity"][metric]
        low, high = models["served"][f"{metric}_ci"]
        assert low < models["served"][metric] < high
    assert trained["report"]["split"]["users"] == 592


def test_evaluate_finds_what_training_reported(installation: Installation, trained: dict[str, Any]) -> None:
    found, reported = json.loads(installation.run("evaluate", "--json")), trained["report"]
    for report in (found, reported):
        assert report["pipeline"]["cpu_ms"].pop("p99") >= report["pipeline"]["cpu_ms"].pop("p50") > 0
    assert found == reported


def test_the_version_is_champion_with_its_card_and_every_gate_passed(
    installation: Installation, trained: dict[str, Any]
) -> None:
    (listed,) = json.loads(installation.run("registry", "list", "--json"))
    assert (listed["aliases"], listed["failed"], listed["let_through"][:15]) == (
        ["challenger", "champion"],
        [],
        "champion before",
    )
    shown = json.loads(installation.run("registry", "show", "--json"))
    assert shown["card"].startswith("# smoke-")
    assert f"recall@20 is {trained['report']['models']['served']['recall@20']:.4f}" in shown["card"]


def test_a_slate_is_ranked_and_explained(installation: Installation, served: psutil.Process) -> None:
    slate = recommend(installation, n=20)
    assert slate["served_from"] == "ranked"
    assert slate["degraded"] == []
    assert slate["model_version"] == "tastemaker/1"
    assert [item["position"] for item in slate["items"]] == list(range(20))
    assert len({item["item_id"] for item in slate["items"]}) == 20
    assert all(item["reason"] for item in slate["items"])
    assert recommend(installation, n=20)["served_from"] == "cache"


def test_an_event_changes_the_next_slate_within_a_second(installation: Installation, served: psutil.Process) -> None:
    before = recommend(installation, n=10)
    watched = before["items"][0]["item_id"]
    event = {"user_id": USER, "item_id": watched, "event_type": "rating", "value": 5.0}
    posted = httpx.post(f"{installation.url}/v1/events", json=event)
    assert posted.status_code == 202, posted.text

    def gone() -> bool:
        return watched not in {item["item_id"] for item in recommend(installation, n=10)["items"]}

    started = time.monotonic()
    wait_for(gone, 10)
    assert time.monotonic() - started < 1.0


def test_an_unknown_user_gets_a_slate(installation: Installation, served: psutil.Process) -> None:
    slate = httpx.get(f"{installation.url}/v1/users/nobody-yet/recommendations").json()
    assert len(slate["items"]) == 20


def test_similar_and_trending_answer(installation: Installation, served: psutil.Process) -> None:
    similar = httpx.get(f"{installation.url}/v1/items/1/similar", params={"n": 5}).json()
    assert len(similar["items"]) == 5
    trending = httpx.get(f"{installation.url}/v1/trending", params={"n": 5}).json()
    assert len(trending["items"]) == 5


def test_a_second_server_on_the_same_state_is_refused(installation: Installation, served: psutil.Process) -> None:
    message = installation.run("serve", expect=2)
    assert message.startswith("tastemaker: another `tastemaker serve` runs")
    assert len(message.strip().splitlines()) == 1


def test_with_ray_dead_there_is_still_a_slate_and_ray_comes_back(
    installation: Installation, served: psutil.Process
) -> None:
    kill(served, lambda command: "ray" in command or "haproxy" in command or "serve models" in command)
    slate = recommend(installation, n=20, force_refresh="true")
    assert slate["served_from"] in {"cache", "session", "segment", "trending", "static"}
    assert len(slate["items"]) == 20
    assert "ray" in slate["degraded"]
    wait_for(lambda: recommend(installation, n=20, force_refresh="true")["served_from"] == "ranked", START_TIMEOUT_S)


def test_with_redis_dead_there_is_still_a_slate(installation: Installation, served: psutil.Process) -> None:
    kill(served, lambda command: "valkey" in command)
    slate = recommend(installation, n=20)
    assert len(slate["items"]) == 20
    assert slate["degraded"]
    lost = httpx.post(f"{installation.url}/v1/events", json={"user_id": USER, "item_id": "1", "event_type": "like"})
    assert lost.status_code == 503


def recommend(installation: Installation, **parameters: Any) -> dict[str, Any]:
    answer = httpx.get(f"{installation.url}/v1/users/{USER}/recommendations", params=parameters, timeout=10)
    assert answer.status_code == 200, answer.text
    slate: dict[str, Any] = answer.json()
    return slate


def ready(url: str) -> str | None:
    try:
        return str(httpx.get(f"{url}/readyz", timeout=10).json()["status"])
    except httpx.HTTPError:
        return None


def kill(root: psutil.Process, chosen: Callable[[str], bool]) -> None:
    victims = [process for process in root.children(recursive=True) if chosen(" ".join(process.cmdline()))]
    assert victims
    for victim in victims:
        victim.kill()


def wait_for(holds: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
