"""The online path on one machine: embedded Redis, Ray Serve, ingest worker and edge, as children of one process.

Each program is a `tastemaker` command of its own, as it would be a pod of its own on a cluster. A program that dies is
started again; the edge answers meanwhile from its fallbacks. Leaving the context stops everything that was started.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import psutil
from filelock import FileLock, Timeout
from redis import Redis

from tastemaker import embedded
from tastemaker.config import Settings
from tastemaker.errors import Conflict, Unavailable
from tastemaker.features.files import MATERIALIZED_KEY

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30
FIRST_DELAY_S, LAST_DELAY_S = 1.0, 60.0
STABLE_S = 60.0
"""A program that lived this long starts again after the first delay, not after a doubled one."""


@dataclass
class Program:
    """One child: a `tastemaker` command, and the URL that answers 200 once it is up."""

    name: str
    arguments: tuple[str, ...]
    ready_url: str | None = None
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = FIRST_DELAY_S
    due: float = 0.0
    """When a dead program is to be started again, on the monotonic clock."""


class Stack:
    """The programs of the online path, running."""

    def __init__(self, settings: Settings, bundle: Path, redis_url: str, version: str) -> None:
        self.settings = settings
        self.redis_url = redis_url
        self.logs = settings.home / "logs"
        self.url = f"http://{settings.edge.host}:{settings.edge.port}"
        models_url = f"http://{settings.serving.host}:{settings.serving.port}/healthz"
        model = ("--bundle", str(bundle), "--model-version", version)
        self._neighbours = {child.pid for child in psutil.Process().children()}
        self.programs = [
            Program("models", ("serve", "models", *model), models_url),
            Program("ingest", ("ingest",)),
            Program("edge", ("serve", "edge", *model), f"{self.url}/healthz"),
        ]

    def start(self, say: Callable[[str], None]) -> None:
        """Start every program and wait until all answer.

        Raises:
            Unavailable: a program stopped or did not answer in time; the message ends with its last line.
        """
        for program in self.programs:
            self._spawn(program)
        self._fill_online(say)
        for program in self.programs:
            say(f"starting {program.name}")
            self._wait(program)

    def watch(self, say: Callable[[str], None]) -> NoReturn:
        """Keep the programs alive until interrupted."""
        while True:
            time.sleep(0.5)
            for program in self.programs:
                self._revive(program, say)

    def stop(self) -> None:
        """Stop the programs, last started first; whatever they leave behind is killed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
        for program in reversed(self.programs):
            _stop(program.process)
        self._kill_strays()

    def _fill_online(self, say: Callable[[str], None]) -> None:
        """Put users' features and events online if nobody has ever done so; on a cluster a job does."""
        with Redis.from_url(self.redis_url) as redis:
            if redis.exists(MATERIALIZED_KEY):
                return
        say("putting users' features and events online")
        filling = Program("materialize", ("features", "materialize"))
        self._spawn(filling)
        assert filling.process is not None
        if filling.process.wait() != 0:
            log = self._log_of(filling)
            raise Unavailable(f"features could not be put online: {_last_line(log)}", f"See {log}")

    def _spawn(self, program: Program) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"TASTEMAKER_REDIS_URL": self.redis_url}
        command = [sys.executable, "-m", "tastemaker.cli", *program.arguments]
        with self._log_of(program).open("wb") as log:
            program.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )
        program.started = time.monotonic()

    def _log_of(self, program: Program) -> Path:
        return self.logs / f"{program.name}.log"

    def _wait(self, program: Program) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert program.process is not None
            code = program.process.poll()
            if code is not None:
                log = self._log_of(program)
                raise Unavailable(
                    f"{program.name} stopped while starting (exit code {code}): {_last_line(log)}", f"See {log}"
                )
            if program.ready_url is None or _answers(program.ready_url):
                return
            time.sleep(0.2)
        raise Unavailable(
            f"{program.name} did not answer at {program.ready_url} within {START_TIMEOUT_S} s",
            f"See {self._log_of(program)}",
        )

    def _revive(self, program: Program, say: Callable[[str], None]) -> None:
        now = time.monotonic()
        if program.process is not None:
            code = program.process.poll()
            if code is None:
                return
            program.process = None
            program.delay = FIRST_DELAY_S if now - program.started > STABLE_S else min(2 * program.delay, LAST_DELAY_S)
            program.due = now + program.delay
            say(f"{program.name} stopped (exit code {code}); starting it again in {program.delay:.0f} s")
        elif now >= program.due:
            self._kill_strays()
            self._spawn(program)

    def _kill_strays(self) -> None:
        """Kill what dead programs left behind: children that are neither a live program nor older than the stack."""
        known = self._neighbours | {program.process.pid for program in self.programs if program.process is not None}
        strays = [child for child in psutil.Process().children() if child.pid not in known]
        family = [member for stray in strays for member in (*stray.children(recursive=True), stray)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)


@contextmanager
def running(settings: Settings, bundle: Path, version: str, say: Callable[[str], None]) -> Iterator[Stack]:
    """The whole online path, up and answering.

    Raises:
        Conflict: another one runs on the same state directory, or a port is taken.
        Unavailable: a program does not come up.
    """
    _adopt_orphans()
    with ExitStack() as cleanup:
        cleanup.enter_context(_only_one(settings))
        _refuse_taken_ports(settings)
        say("starting redis")
        redis_url = cleanup.enter_context(embedded.server(settings))
        stack = Stack(settings, bundle, redis_url, version)
        cleanup.callback(stack.stop)
        stack.start(say)
        yield stack


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    # The lock is the kernel's, so one left behind by a killed process is no lock at all.
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / "serve.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise Conflict(
            f"another `tastemaker serve` runs on {settings.home}",
            "Stop it, or set TASTEMAKER_HOME to another directory",
        ) from None


def _refuse_taken_ports(settings: Settings) -> None:
    for setting, host, port in (
        ("edge.port", settings.edge.host, settings.edge.port),
        ("serving.port", settings.serving.host, settings.serving.port),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                variable = f"TASTEMAKER_{setting.upper().replace('.', '__')}"
                raise Conflict(
                    f"port {port} on {host} ({setting}) cannot be used: {error.strerror}",
                    f"Stop what holds it, or set {variable}={port + 1}",
                ) from error


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that they can be found and stopped (Linux only)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
