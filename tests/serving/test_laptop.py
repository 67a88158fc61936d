"""Rollouts of `tastemaker serve`, with real processes, Redis and registry; only what the processes do is played."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tastemaker.config import Serving, Settings
from tastemaker.manifest import MANIFEST
from tastemaker.registry import Registry
from tastemaker.rollout import meter, observe, routing
from tastemaker.rollout.local import LocalRollouts
from tastemaker.rollout.resources import ModelRolloutStatus
from tastemaker_serving import laptop, wire
from tastemaker_serving.laptop import Leader, ProcessColours
from tastemaker_serving.programs import Program, Programs

MODELS = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
if "bad" in sys.argv[2]:
    sys.exit("this bundle is broken")
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
try:
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
except KeyboardInterrupt:
    pass
"""
AT_ONCE = {"shadow": None, "steps": [{"weight": 100, "duration": "0s"}], "guardrails": {"minRequests": 1}}


class PlayedPrograms(Programs):
    """Starts something light in place of Ray."""

    def spawn(self, program: Program) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        port, bundle = program.environment["TASTEMAKER_SERVING__PORT"], program.arguments[3]
        with self.log_of(program).open("wb") as log:
            program.process = subprocess.Popen([sys.executable, "-c", MODELS, port, bundle], stdout=log, stderr=log)
        program.started = time.monotonic()


class Laptop:
    """What `tastemaker serve` does, without ingest and edge."""

    def __init__(self, settings: Settings, redis: Redis, url: str, bundle: Path) -> None:
        self.redis = redis
        self.said: list[str] = []
        self.programs = PlayedPrograms(settings.home / "logs", {})
        self.colours = ProcessColours(settings, self.programs, bundle, "tastemaker/1")
        self.leader = Leader(settings, url, self.colours)
        self.leader.begin("tastemaker/1")
        self.colours.bring_up("blue", "1")
        self.programs.wait(self.programs.running[0])

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, self.said
            self.programs.tend(self.said.append)
            self.leader.look(self.said.append)
            document = routing.read(self.redis)
            if document is not None and document.candidate is not None:
                self.redis.hset(meter.sums_key(document.period, document.candidate.colour), "requests", "10")
            time.sleep(0.01)

    @property
    def status(self) -> ModelRolloutStatus:
        return LocalRollouts(self.redis).all()[-1].status


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with three registered versions."""
    home = tmp_path_factory.mktemp("home")
    registry = Registry(Settings(home=home))
    for name in ("good", "fine", "bad"):
        (home / name).mkdir()
        (home / name / MANIFEST).write_text("{}")
        registry.register(home / name, {}, {})
    return home


@pytest.fixture
def here(home: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    monkeypatch.setattr(laptop, "LOOK_S", 0.01)
    monkeypatch.setattr(laptop, "DRAIN_S", 0.0)
    settings = Settings(home=home, gates=None, redis_url=redis_url, serving=Serving(port=two_free_ports()))
    with Redis.from_url(redis_url) as redis:
        running = Laptop(settings, redis, redis_url, home / "good")
        yield running
        running.programs.stop()
        running.leader.close()


def test_a_version_is_promoted_and_the_next_one_goes_the_other_way(here: Laptop) -> None:
    LocalRollouts(here.redis).create("first", AT_ONCE | {"model": "2"})
    here.until(lambda: here.status.phase == "Completed")
    assert [program.name for program in here.programs.running] == ["models-green"]
    assert "rollout first: Completed (Promoted): version 2 serves on green" in here.said
    LocalRollouts(here.redis).create("second", AT_ONCE | {"model": "1"})
    here.until(lambda: here.status.phase == "Completed" and not here.programs.leaves("models-green"))
    assert [program.name for program in here.programs.running] == ["models"]
    found = routing.read(here.redis)
    assert found is not None
    assert found.stable.version == "tastemaker/1"


def test_a_bundle_that_crashes_is_taken_back_with_its_last_words(
    here: Laptop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here.colours.registry, "download", lambda ref: home / ("bad" if ref.version == "3" else "fine"))
    LocalRollouts(here.redis).create("crash", AT_ONCE | {"model": "3"})
    here.until(lambda: here.status.phase == "RolledBack")
    assert (here.status.reason, here.status.message) == ("ColourFailed", "exit code 1: this bundle is broken")
    assert [program.name for program in here.programs.running] == ["models"]


def test_a_deleted_rollout_ends_its_processes(here: Laptop) -> None:
    LocalRollouts(here.redis).create("gone", {"model": "2"})
    here.until(lambda: here.status.phase == "Shadow")
    LocalRollouts(here.redis).delete("gone")
    here.until(lambda: len(here.programs.running) == 1 and not here.programs.leaves("models-green"))
    assert here.programs.running[0].name == "models"


def test_without_rollouts_the_registry_is_never_opened(here: Laptop) -> None:
    for _ in range(5):
        here.leader.look(here.said.append)
        time.sleep(0.02)
    assert here.colours._registry is None
    assert here.said == []


def test_redis_that_is_away_does_not_end_the_serving(here: Laptop) -> None:
    gone = Leader(Settings(home=here.programs.logs), f"redis://127.0.0.1:{two_free_ports()}", here.colours)
    gone.look(here.said.append)
    assert here.said == []


def test_warming_posts_what_edges_post() -> None:
    assert wire.PATH == observe.RECOMMEND
    assert {"content-type": wire.CONTENT_TYPE} == observe.BODY


def two_free_ports() -> int:
    """A free port whose successor is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
