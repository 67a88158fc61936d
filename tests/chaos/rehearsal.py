"""Every dependency of the edge is broken and mended in turn, under steady load. Not one slate request may fail.

    make chaos

The stack is `tastemaker serve` on a model of the sample films, with the deadlines of the product. The cache is out of
date after a second, so that a slate from it was a step of the ladder.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import httpx
import psutil
import typer
from rich.console import Console
from rich.table import Table
from tenacity import retry, retry_if_not_result, stop_after_delay, wait_fixed
from tests.chaos.faults import FAULTS, Fault, Stack
from tests.test_end_to_end import SAMPLE, free_port

from tastemaker import columns, config, embedded
from tastemaker.lake import Lake
from tastemaker.types import ServedFrom
from tastemaker_serving.traffic import Crowd, Tally, appeal_of

BACK_S = 300
CONSOLE = Console(width=None if sys.stdout.isatty() else 140)
RUNGS: tuple[str, ...] = get_args(ServedFrom)


def main(
    rate: Annotated[float, typer.Option(help="Slates asked for per second.")] = 20,
    seconds: Annotated[float, typer.Option(help="How long each fault stays.")] = 20,
    home: Annotated[Path | None, typer.Option(help="State directory; without a model it is trained there.")] = None,
) -> None:
    """Break, mend, and print which steps of the ladder served. Exit code 1 when a request failed."""
    with tempfile.TemporaryDirectory(prefix="tastemaker-chaos-") as scratch, serving(home or Path(scratch)) as stack:
        told = asyncio.run(_rehearse(stack, rate, seconds))
        CONSOLE.print(table_of(told))
    failures = [f"{name}: {words}" for name, tally in told.items() for words in tally.failures]
    CONSOLE.print("\n".join(failures) or "not one request failed")
    raise typer.Exit(1 if failures else 0)


@contextmanager
def serving(home: Path) -> Iterator[Stack]:
    """`tastemaker serve` on `home`, up and answering with ranked slates."""
    os.environ |= {
        "TASTEMAKER_HOME": str(home),
        "TASTEMAKER_EDGE__PORT": str(free_port()),
        "TASTEMAKER_SERVING__PORT": str(free_port()),
        "TASTEMAKER_EDGE__CACHE_TTL_S": "1",
    }
    config.load.cache_clear()
    if not (home / "mlflow.db").exists():
        CONSOLE.print("training on the sample films")
        _tastemaker("data", "import", "--format", "movielens", str(SAMPLE)).wait()
        _tastemaker("train", "--recipe", "smoke").wait()
    CONSOLE.print("starting")
    process = _tastemaker("serve")
    try:
        _until_ranked()
        yield Stack(psutil.Process(process.pid), home, embedded.connect_url(config.load()))
    finally:
        process.send_signal(signal.SIGTERM)  # a shell's background jobs ignore SIGINT
        process.wait(120)


def table_of(told: dict[str, Tally]) -> Table:
    """Slates by rung, a row for each fault."""
    table = Table("broken", "slates", "failed", "p50 ms", "p99 ms", *RUNGS)
    for name, tally in told.items():
        served = Counter[str]()
        for kind, count in tally.slates.items():
            served[kind.rpartition(" ")[2]] += count
        summary = tally.summary()
        numbers = [summary[column] for column in ("requests", "failed", "p50_ms", "p99_ms")]
        table.add_row(name, *map(str, numbers), *(str(served[rung] or "") for rung in RUNGS))
    return table


async def _rehearse(stack: Stack, rate: float, seconds: float) -> dict[str, Tally]:
    """What viewers saw in each phase: from the fault until slates are ranked again."""
    settings = config.load()
    events = Lake(settings.lake).events()
    key = settings.edge.api_key.get_secret_value() if settings.edge.api_key else None
    crowd = Crowd(_edge(), events[columns.USER_ID].unique().to_pylist(), appeal_of(events), key)
    viewers = asyncio.create_task(crowd.live(rate, None, lambda _: None))
    told = {}
    for name, fault in FAULTS.items():
        crowd.tally = told[name] = Tally()
        took = await asyncio.to_thread(_phase, stack, fault, seconds)
        CONSOLE.print(f"{name}: ranked again {took:.0f} s after it was mended")
    await asyncio.sleep(settings.edge.deadline_ms / 1000)
    crowd.tally = Tally()  # what is broken off below is nobody's
    viewers.cancel()
    return told


def _phase(stack: Stack, fault: Fault, seconds: float) -> float:
    with fault(stack):
        time.sleep(seconds)
    mended = time.monotonic()
    _until_ranked()
    return time.monotonic() - mended


@retry(retry=retry_if_not_result(lambda rung: rung == "ranked"), wait=wait_fixed(1), stop=stop_after_delay(BACK_S))
def _until_ranked() -> str:
    try:
        path = f"{_edge()}/v1/users/chaos/recommendations"
        return str(httpx.get(path, params={"force_refresh": "true"}, timeout=10).json()["served_from"])
    except httpx.HTTPError:
        return "nothing"


def _edge() -> str:
    settings = config.load()
    return f"http://{settings.edge.host}:{settings.edge.port}"


def _tastemaker(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tastemaker.cli", *arguments])


if __name__ == "__main__":
    typer.run(main)
