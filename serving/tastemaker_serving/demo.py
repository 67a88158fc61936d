"""`tastemaker demo`: from nothing to a slate, in one command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound, Unavailable
from tastemaker.lake import Lake
from tastemaker.registry import Registry
from tastemaker_serving.launch import Stack, running

SAMPLE = Path(__file__).parents[2] / "data" / "movielens-small"
HISTORY = 10


@dataclass(frozen=True)
class Step:
    """Something to do once, and the command that does it."""

    title: str
    arguments: tuple[str, ...]


def run(settings: Settings, *, once: bool, as_json: bool) -> None:
    """Prepare what is missing, serve, show one user's slate; then serve until interrupted, or end when `once`."""
    console = Console(stderr=True, quiet=as_json)
    for step in missing_steps(settings):
        console.rule(f"[bold]{step.title}", align="left")
        _command(step, quiet=as_json)
    registry = Registry(settings)
    ref = registry.resolve()
    bundle = registry.download(ref)
    with console.status("starting") as status, running(settings, bundle, str(ref), status.update) as stack:
        status.stop()
        shown = show(settings, stack)
        if as_json:
            print(json.dumps(shown))
        else:
            _print(shown, stack)
        if not once:
            stack.watch(console.print)


def missing_steps(settings: Settings) -> list[Step]:
    """What has to be done before there is something to serve."""
    steps = []
    lake = Lake(settings.lake)
    if not lake.exists(lake.catalogue.base):
        steps.append(
            Step("Importing MovieLens (100,836 ratings)", ("data", "import", "--format", "movielens", str(SAMPLE)))
        )
    try:
        Registry(settings).resolve()
    except NotFound:
        steps.append(Step("Training", ("train",)))
    return steps


def show(settings: Settings, stack: Stack) -> dict[str, Any]:
    """One user, what they watched last, and their slate."""
    lake = Lake(settings.lake)
    items = lake.items()
    titles = dict(zip(items[columns.ITEM_ID].to_pylist(), items[columns.TITLE].to_pylist(), strict=True))
    events = lake.events()
    user = _typical_user(events)
    mine = events.filter(pc.equal(events[columns.USER_ID], user))
    history = [
        {"item_id": event[columns.ITEM_ID], "title": titles.get(event[columns.ITEM_ID]), "value": event[columns.VALUE]}
        for event in reversed(mine.to_pylist()[-HISTORY:])
    ]
    answer = httpx.get(f"{stack.url}/v1/users/{user}/recommendations", timeout=10)
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"the edge answered {answer.status_code}: {answer.text[:200]}", f"See {stack.logs}")
    slate = answer.json()
    for item in slate["items"]:
        item["title"] = titles.get(item["item_id"])
    return {"user_id": user, "history": history, "slate": slate}


def _typical_user(events: pa.Table) -> str:
    """The user whose number of events is the median, so that the demonstration flatters nobody."""
    counts = (
        events.group_by(columns.USER_ID)
        .aggregate([([], "count_all")])
        .sort_by([("count_all", "ascending"), (columns.USER_ID, "ascending")])
    )
    return str(counts[columns.USER_ID][counts.num_rows // 2])


def _command(step: Step, *, quiet: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tastemaker.cli", *step.arguments],
        stdout=subprocess.DEVNULL if quiet else None,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(
            f"{step.title.lower()} failed (exit code {done.returncode})",
            f"Run `tastemaker {' '.join(step.arguments)}` to see it alone",
        )


def _print(shown: dict[str, Any], stack: Stack) -> None:
    console = Console()
    user, slate = shown["user_id"], shown["slate"]
    history = Table("film", "rating", title=f"User {user} watched last", title_justify="left")
    for event in shown["history"]:
        history.add_row(event["title"], str(event["value"]))
    table = Table("", "film", "score", "source", "reason", title="and is recommended", title_justify="left")
    for item in slate["items"]:
        table.add_row(str(item["position"]), item["title"], f"{item['score']:.3f}", item["source"], item["reason"])
    console.print(history, table)
    first = slate["items"][0]["item_id"]
    event = json.dumps({"user_id": user, "item_id": first, "event_type": "rating", "value": 5})
    console.print(
        f"Served by {slate['model_version']} from {slate['served_from']}. Try next:",
        f"  curl '{stack.url}/v1/users/{user}/recommendations?n=5'",
        f"  curl -X POST {stack.url}/v1/events -H 'Content-Type: application/json' -d '{event}'",
        f"  curl '{stack.url}/v1/items/{first}/similar?n=5'",
        f"  curl '{stack.url}/v1/trending?n=5'",
        f"Every call is documented at {stack.url}/docs. Ctrl-C stops everything.",
        sep="\n",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
