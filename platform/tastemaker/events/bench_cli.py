"""`tastemaker bench ingest`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def ingest(
    events: Annotated[int, typer.Option(min=1000, help="How many to send, 100 in a request.")] = 1_000_000,
    kills: Annotated[int, typer.Option(min=0, help="How often the worker is killed (-9) on the way.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Send events through stream, online state, counters and lake, and kill the worker meanwhile.

    events_per_s_per_core is events per second of CPU time that the worker's processes took, those that were killed
    and all their starts included; parsing and publishing (publisher_cpu_s, as the edge does it, without HTTP) and Redis
    (redis_cpu_s) are told apart. events_per_s is by the clock, with all of them on this machine. lost and doubled count
    what is missing and what is too much in the lake's files (by event_id), the trails and the trending counters.
    """
    from tastemaker.events.bench import run

    with Console(stderr=True, quiet=as_json).status("starting") as status:
        result = asdict(run(events, kills, status.update))
    if as_json:
        print(json.dumps(result))
        return
    table = Table("", "", show_header=False)
    for name, value in result.items():
        table.add_row(name, f"{value:,}")
    Console().print(table)
