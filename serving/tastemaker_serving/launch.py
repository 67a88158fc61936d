"""The online path on one machine: embedded Redis, Ray Serve, ingest worker and edge, as children of one process.

Each program is a `tastemaker` command of its own, as it would be a pod of its own on a cluster. A program that dies is
started again; the edge answers meanwhile from its fallbacks. Leaving the context stops everything that was started.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout
from redis import Redis

from tastemaker import embedded
from tastemaker.config import Settings
from tastemaker.errors import Conflict, Unavailable
from tastemaker.features.files import MATERIALIZED_KEY
from tastemaker_serving import ports
from tastemaker_serving.laptop import Leader, ProcessColours
from tastemaker_serving.programs import Program, Programs, last_line


class Stack:
    """The programs of the online path, running. The models are the colour blue; a rollout brings up green beside it."""

    def __init__(self, settings: Settings, bundle: Path, redis_url: str, version: str) -> None:
        self.settings = settings
        self.redis_url = redis_url
        self.logs = settings.home / "logs"
        self.url = f"http://{settings.edge.host}:{settings.edge.port}"
        self._version = version
        self._programs = Programs(self.logs, {"TASTEMAKER_REDIS_URL": redis_url})
        self._colours = ProcessColours(settings, self._programs, bundle, version)
        self._leader = Leader(settings, redis_url, self._colours)
        model = ("--bundle", str(bundle), "--model-version", version)
        self._beside = [
            Program("ingest", ("ingest",)),
            Program("edge", ("serve", "edge", *model), f"{self.url}/healthz"),
        ]

    def start(self, say: Callable[[str], None]) -> None:
        """Start every program and wait until all answer.

        Raises:
            Unavailable: a program stopped or did not answer in time; the message ends with its last line.
        """
        self._leader.begin(self._version)
        self._colours.bring_up("blue", self._version.rpartition("/")[2])
        for program in self._beside:
            self._programs.start(program)
        self._fill_online(say)
        for program in self._programs.running:
            say(f"starting {program.name}")
            self._programs.wait(program)

    def watch(self, say: Callable[[str], None]) -> NoReturn:
        """Keep the programs alive and lead rollouts until interrupted."""
        while True:
            time.sleep(0.5)
            self._programs.tend(say)
            self._leader.look(say)

    def stop(self) -> None:
        """Stop the programs, last started first; whatever they leave behind is killed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them running
        self._programs.stop()
        self._leader.close()

    def _fill_online(self, say: Callable[[str], None]) -> None:
        """Put users' features and events online if nobody has ever done so; on a cluster a job does."""
        with Redis.from_url(self.redis_url) as redis:
            if redis.exists(MATERIALIZED_KEY):
                return
        say("putting users' features and events online")
        filling = Program("materialize", ("features", "materialize"))
        self._programs.spawn(filling)
        assert filling.process is not None
        if filling.process.wait() != 0:
            log = self._programs.log_of(filling)
            raise Unavailable(f"features could not be put online: {last_line(log)}", f"See {log}")


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
        ports.refuse_taken("edge.port", settings.edge.host, settings.edge.port, settings.edge.port + 1)
        ports.refuse_taken("serving.port", settings.serving.host, settings.serving.port, settings.serving.port + 1)
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


def _adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that they can be found and stopped (Linux only)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
