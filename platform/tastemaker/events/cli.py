"""`tastemaker ingest`: the worker, and what it could not use."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tastemaker import config

RedisUrl = Annotated[str | None, typer.Option(help="Default: the configured or the running embedded one.")]

ingest = typer.Typer(help="Take events from the stream to everything that learns from them.")


@ingest.callback(invoke_without_command=True)
def run(context: typer.Context, redis_url: RedisUrl = None) -> None:
    """Take events from the stream into user state, trending counters and the lake, until stopped."""
    import signal
    import threading

    from tastemaker.embedded import connect_url
    from tastemaker.events import ingest as worker

    if context.invoked_subcommand is not None:
        return
    settings = config.load()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    worker.run(settings, redis_url or connect_url(settings), stop)


@ingest.command()
def dead_letters(
    redis_url: RedisUrl = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Show what stood in the stream and could not be used, with the reason, the latest first."""
    from redis import Redis
    from rich.console import Console
    from rich.table import Table

    from tastemaker.embedded import connect_url
    from tastemaker.events.dead_letters import read

    settings = config.load()
    with Redis.from_url(redis_url or connect_url(settings)) as redis:
        letters = read(redis, settings.ingest.shards, limit)
    if as_json:
        print(json.dumps([letter._asdict() | {"filed": letter.filed.isoformat()} for letter in letters]))
        return
    if not letters:
        print("There are no dead letters.")
        return
    table = Table("filed", "shard", "reason", "payload")
    for letter in letters:
        filed = letter.filed.isoformat(timespec="seconds")
        table.add_row(filed, str(letter.shard), f"{letter.reason:.200}", f"{letter.payload:.200}")
    Console().print(table)
