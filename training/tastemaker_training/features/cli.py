"""`tastemaker features …`: computing features from the lake and putting them online."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from tastemaker import config
from tastemaker.features.files import MATERIALIZED_KEY

features = typer.Typer(help="Compute features from the lake, and put them online.", no_args_is_help=True)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@features.command()
def build(
    full: Annotated[bool, typer.Option("--full", help="Read everything anew, as after a repair of the lake.")] = False,
    as_json: JSON = False,
) -> None:
    """Compute hourly snapshots of every user and item from the lake's events.

    Run it every hour, and with --full every day: an hourly run makes the snapshots of the users anew whom events since
    the last run touch, events of the past included; a full one makes one file of everybody's. Readers see the same rows
    after both. Running it again changes nothing, and a run that is cut short leaves what was there. Beyond 64 MB of
    event files it runs on Ray: the one at `ray_address` where that is set, or else one on this machine.
    """
    from dataclasses import asdict

    from tastemaker.lake import Lake
    from tastemaker_training.features.build import build as build_features

    settings = config.load()
    with Console(stderr=True).status("building features"):
        built = build_features(Lake(settings.lake), settings, full=full)
    if as_json:
        print(json.dumps(asdict(built)))
    else:
        users = "all users" if built.users is None else f"{built.users:,} users"
        print(f"{built.new_files:,} new event files, {users} anew: ", end="")
        _report({"user rows": built.user_rows, "item rows": built.item_rows}, as_json)


@features.command()
def materialize(
    redis_url: Annotated[str | None, typer.Option(help="Online store; by default the configured one.")] = None,
    users_only: Annotated[
        bool, typer.Option("--users-only", help="Leave items out: serving keeps them in memory.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Put users' recent events and the newest snapshot of every user and item online, where serving reads them.

    Run it after `tastemaker features build`. Running it again changes nothing that is up to date, and events that
    arrived meanwhile are kept. Beyond 64 MB of event files the events are Ray's work, whose nodes must reach Redis.
    """
    from redis import Redis

    from tastemaker.embedded import connect_url
    from tastemaker.features.files import ITEM_VIEW, USER_VIEW
    from tastemaker.features.store import Features
    from tastemaker_training.features.trails import fill_trails

    settings = config.load()
    redis_url = redis_url or connect_url(settings)
    store = Features(settings, redis_url)
    views = (USER_VIEW,) if users_only else (USER_VIEW, ITEM_VIEW)
    shown = ("{task.description}", BarColumn(), "{task.completed:,} rows", TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        tasks = {view: progress.add_task(view, total=None) for view in views}
        written = store.materialize(views, lambda view, done: progress.update(tasks[view], completed=done))
        progress.add_task("trails", total=None)
        trails = fill_trails(settings, redis_url)
    with Redis.from_url(redis_url) as redis:
        redis.set(MATERIALIZED_KEY, int(time.time()))
    _report({**written, "trails": trails}, as_json)


def _report(counts: dict[str, int], as_json: bool) -> None:
    print(json.dumps(counts) if as_json else ", ".join(f"{count:,} {name}" for name, count in counts.items()))
