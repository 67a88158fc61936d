"""Ports of this machine: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket

import psutil

from tastemaker.errors import Conflict

BLOCKS = 20_000, 32_700
"""Where blocks of ports lie."""
SHOWN = 200
"""Characters of a command line that a message shows."""


def free(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def free_block(host: str, width: int) -> int:
    """The first of `width` ports in a row that nobody holds, nor gets by chance: they lie below the ephemeral ones.

    Which block is chance, so that programs that start at the same time do not choose the same.

    Raises:
        Conflict: there is no such block.
    """
    starts = range(*BLOCKS, width)
    for start in random.sample(starts, len(starts)):
        if all(_refusal(host, port) is None for port in range(start, start + width)):
            return start
    raise Conflict(f"there are no {width} free ports in a row on {host}", "Stop programs that hold ports above 20,000")


def refuse_taken(setting: str, host: str, port: int, instead: int) -> None:
    """See that `port` can be listened on.

    Args:
        setting: its name in the settings.
        instead: another port, which the remedy proposes.

    Raises:
        Conflict: it cannot; the message names who holds it, where that can be told.
    """
    refusal = _refusal(host, port)
    if refusal is None:
        return
    holder = _holder(port)
    variable = f"TASTEMAKER_{setting.upper().replace('.', '__')}"
    raise Conflict(
        f"port {port}{f' on {host}' if host else ''} ({setting}) cannot be used: {refusal.strerror}"
        + (f" by process {holder.pid} ({_command(holder)})" if holder else ""),
        f"Stop {f'it (kill {holder.pid})' if holder else 'what holds it'}, or set {variable}={instead}",
    ) from refusal


def _refusal(host: str, port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _holder(port: int) -> psutil.Process | None:
    """Who listens on `port`, or the program of ours that started it: ended, it takes its children along.

    None where it is another user's, whose sockets are not ours to see.
    """
    try:
        held = [found.pid for found in psutil.net_connections("tcp") if found.laddr and found.laddr.port == port]
        listener = psutil.Process(next(pid for pid in held if pid is not None))
        ours = [ancestor for ancestor in listener.parents() if _is_ours(ancestor)]
    except (StopIteration, psutil.Error):
        return None
    return ours[-1] if ours else listener


def _is_ours(process: psutil.Process) -> bool:
    try:
        return any(part.endswith(("/tastemaker", "tastemaker.cli")) for part in process.cmdline()[:3])
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()[1:]])[:SHOWN]
    except psutil.Error:
        return ""
