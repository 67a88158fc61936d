"""Child processes of `tastemaker serve`: started, kept alive, stopped, and nothing of them left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tastemaker.errors import Unavailable

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 30
FIRST_DELAY_S, LAST_DELAY_S = 1.0, 60.0
LIBC = ctypes.CDLL(None)
STABLE_S = 60.0
"""A program that lived this long starts again after the first delay, not after a doubled one."""


@dataclass
class Program:
    """One child: a `tastemaker` command, and the URL that answers 200 once it is up."""

    name: str
    arguments: tuple[str, ...]
    ready_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = FIRST_DELAY_S
    due: float = 0.0
    """When a dead program is to be started again, on the monotonic clock."""
    last_words: str = ""
    """How it died last, with the last line of its log."""


class Programs:
    """The children of this process.

    Args:
        environment: variables that all of them get beside this process's own.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self.running: list[Program] = []
        self._environment = environment
        self._leaving: list[tuple[Program, float]] = []
        self._neighbours = {child.pid for child in psutil.Process().children()}

    def start(self, program: Program) -> None:
        """Start a program and keep it alive from now on."""
        self.running.append(program)
        self.spawn(program)

    def spawn(self, program: Program) -> None:
        """Start a program once."""
        self.logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self._environment, **program.environment}
        command = [sys.executable, "-m", "tastemaker.cli", *program.arguments]
        with self.log_of(program).open("wb") as log:
            program.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        program.started = time.monotonic()

    def log_of(self, program: Program) -> Path:
        """Where its output goes."""
        return self.logs / f"{program.name}.log"

    def wait(self, program: Program) -> None:
        """Wait until a program that was just started answers.

        Raises:
            Unavailable: it stopped, or did not answer in time; the message ends with its last line.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert program.process is not None
            code = program.process.poll()
            if code is not None:
                log = self.log_of(program)
                raise Unavailable(
                    f"{program.name} stopped while starting (exit code {code}): {last_line(log)}", f"See {log}"
                )
            if program.ready_url is None or answers(program.ready_url):
                return
            time.sleep(0.2)
        raise Unavailable(
            f"{program.name} did not answer at {program.ready_url} within {START_TIMEOUT_S} s",
            f"See {self.log_of(program)}",
        )

    def tend(self, say: Callable[[str], None]) -> None:
        """Start again what died, and kill what was told to leave and does not."""
        for program in self.running:
            self._revive(program, say)
        for program, deadline in list(self._leaving):
            assert program.process is not None
            if program.process.poll() is None and time.monotonic() > deadline:
                program.process.kill()
            if program.process.poll() is not None:
                self._leaving = [leaver for leaver in self._leaving if leaver[0] is not program]
                self._kill_strays()

    def let_go(self, program: Program) -> None:
        """Tell a program to end, without waiting."""
        self.running.remove(program)
        if program.process is not None and program.process.poll() is None:
            program.process.send_signal(signal.SIGINT)
            self._leaving.append((program, time.monotonic() + STOP_TIMEOUT_S))

    def leaves(self, name: str) -> bool:
        """Whether a program of that name was told to end and has not yet."""
        return any(program.name == name for program, _ in self._leaving)

    def stop(self) -> None:
        """Stop all, last started first; whatever they leave behind is killed."""
        for program, _ in self._leaving:
            self.running.append(program)
        for program in reversed(self.running):
            _stop(program.process)
        self._kill_strays()

    def _revive(self, program: Program, say: Callable[[str], None]) -> None:
        now = time.monotonic()
        if program.process is not None:
            code = program.process.poll()
            if code is None:
                return
            program.process = None
            program.last_words = f"exit code {code}: {last_line(self.log_of(program))}"
            program.delay = FIRST_DELAY_S if now - program.started > STABLE_S else min(2 * program.delay, LAST_DELAY_S)
            program.due = now + program.delay
            say(f"{program.name} stopped (exit code {code}); starting it again in {program.delay:.0f} s")
        elif now >= program.due:
            self._kill_strays()
            self.spawn(program)

    def _kill_strays(self) -> None:
        """Kill what dead programs left behind: children that are neither a live program nor older than the stack."""
        programs = [*self.running, *(program for program, _ in self._leaving)]
        known = self._neighbours | {program.process.pid for program in programs if program.process is not None}
        strays = [child for child in psutil.Process().children() if child.pid not in known]
        family = [member for stray in strays for member in (*stray.children(recursive=True), stray)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)


def answers(url: str, client: httpx.Client | None = None) -> bool:
    """Whether a GET is answered with 200 within two seconds."""
    try:
        get = client.get if client else httpx.get
        return get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def last_line(log: Path) -> str:
    """What a program said last."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _end_with_parent() -> None:
    """Have this process told to end (SIGTERM) when its parent dies, however that dies (Linux only)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        LIBC.prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
