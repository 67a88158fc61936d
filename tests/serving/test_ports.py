"""Ports that another process holds, by real sockets and processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tastemaker.errors import Conflict
from tastemaker_serving import ports

LISTENER = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    server.accept()
"""


@pytest.fixture
def listener() -> Iterator[tuple[int, int]]:
    """A process that listens: its id and its port."""
    with subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.kill()


def test_whoever_holds_a_port_is_named_with_the_remedy(listener: tuple[int, int]) -> None:
    pid, port = listener

    with pytest.raises(Conflict) as refused:
        ports.refuse_taken("serving.port", "127.0.0.1", port, 8002)

    problem, remedy = refused.value.problem, refused.value.remedy
    assert (
        f"port {port} on 127.0.0.1 (serving.port) cannot be used: Address already in use by process {pid} (" in problem
    )
    assert "import socket" in problem
    assert remedy == f"Stop it (kill {pid}), or set TASTEMAKER_SERVING__PORT=8002"


def test_a_free_port_is_no_conflict() -> None:
    ports.refuse_taken("edge.port", "127.0.0.1", ports.free(), 8001)


def test_a_program_of_ours_is_named_in_place_of_what_it_started(tmp_path: Path) -> None:
    program = tmp_path / "tastemaker"
    program.write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LISTENER!r}])")
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        try:
            with pytest.raises(Conflict, match=rf"by process {starter.pid} \(.*/tastemaker\)"):
                ports.refuse_taken("edge.port", "127.0.0.1", port, 8001)
        finally:
            socket.create_connection(("127.0.0.1", port)).close()  # which is what the listener waits for


def test_a_block_has_no_port_that_anybody_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    start = ports.free_block("127.0.0.1", 10)
    monkeypatch.setattr(ports, "BLOCKS", (start, start + 20))

    with socket.create_server(("127.0.0.1", start + 3)):
        assert ports.free_block("127.0.0.1", 10) == start + 10
        monkeypatch.setattr(ports, "BLOCKS", (start, start + 10))
        with pytest.raises(Conflict, match="no 10 free ports in a row"):
            ports.free_block("127.0.0.1", 10)
