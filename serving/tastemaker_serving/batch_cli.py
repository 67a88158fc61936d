"""The commands of batch slates: `tastemaker digest` and `tastemaker precompute`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tastemaker import config, scenes
from tastemaker.errors import InvalidInput

if TYPE_CHECKING:
    from tastemaker.config import Settings
    from tastemaker_serving.batch import Models

N = Annotated[int | None, typer.Option("--n", min=1, max=100, help="Items for each; by default serving.funnel.slate.")]
BundlePath = Annotated[Path | None, typer.Option("--bundle", help="Directory of the model bundle.")]
ModelVersion = Annotated[str | None, typer.Option(help="Name of the bundle's version.")]
Model = Annotated[str, typer.Option(help="Without --bundle: version number or alias in the registry.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def digest(
    out: Annotated[
        str | None,
        typer.Option(help="Path or URL of a .parquet or .csv; by default digest/slates.parquet of the lake."),
    ] = None,
    n: N = None,
    users: Annotated[Path | None, typer.Option(help="File with a user id in each line; by default all users.")] = None,
    bundle: BundlePath = None,
    model_version: ModelVersion = None,
    model: Model = "champion",
    as_json: JSON = False,
) -> None:
    """Write a slate for every user of the lake into one file (scene `digest`).

    It runs on Ray: the one at `ray_address` where that is set, or else one on this machine. A run that was killed goes
    on where it was when it is started again within a day, for the same model and users. Users' events and features are
    read online.
    """
    from redis import Redis

    from tastemaker import audience, embedded
    from tastemaker.lake import Lake
    from tastemaker_serving import digest as digests
    from tastemaker_serving.batch import Plan

    settings = config.load()
    given = None if users is None else _lines(users)
    with embedded.server(settings) as redis_url, _bar("slates") as progress:

        def everyone() -> list[str]:
            with Redis.from_url(redis_url) as redis:
                gone = audience.forgotten(redis)
            return [user for user in audience.everyone(Lake(settings.lake)) if user not in gone]

        plan = Plan.of(settings, redis_url, _models(settings, bundle, model_version, model))
        place, places = out or f"{settings.lake}/digest/slates.parquet", n or settings.serving.funnel.slate
        summary = digests.write(plan, place, places, given, everyone, progress)
    _report(asdict(summary), as_json)


def precompute(
    scene: Annotated[str, typer.Option(help="Scene of the slates.")] = scenes.HOME,
    days: Annotated[float, typer.Option(min=0.01, help="For users with an event in so many days.")] = 7,
    n: N = None,
    device: Annotated[
        list[str] | None, typer.Option(help="For requests with this `device`, too; may be given several times.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Compute the slates of active users before they ask, into the cache that the edge looks in first.

    Run it every hour. An event of a user outdates their slate at once, as it does any other. It is the stable model
    that computes them; users whom a rollout gives another one are left out. Only requests for `n` items, without
    `exclude` and `country`, find these slates.
    """
    from redis import Redis

    from tastemaker import audience
    from tastemaker.embedded import connect_url
    from tastemaker.lake import Lake
    from tastemaker.rollout import routing
    from tastemaker_serving import precompute as precomputing
    from tastemaker_serving.batch import Plan

    settings = config.load()
    if scenes.load(settings)[scene].cache_ttl_s == 0 or settings.edge.cache_ttl_s == 0:
        raise InvalidInput(f"slates of scene {scene!r} are not cached", "Raise its cache_ttl_s, and edge.cache_ttl_s")
    redis_url = connect_url(settings)
    users = audience.active(Lake(settings.lake), datetime.now(UTC) - timedelta(days=days))
    with Redis.from_url(redis_url) as redis:
        routed, gone = routing.read(redis), audience.forgotten(redis)
    served = "champion"
    if routed is not None:
        served = routed.stable.version.rpartition("/")[2]
        users = [user for user in users if routing.target_of(routed, user) is routed.stable]
    models = _models(settings, None, None, served)
    wanted = precomputing.Wanted(
        scene, n or settings.serving.funnel.slate, (None, *(device or ())), settings.edge.stale_ttl_s
    )
    with _bar("slates") as progress:
        asked = [user for user in users if user not in gone]
        summary = precomputing.fill(Plan.of(settings, redis_url, models), wanted, asked, progress)
    _report(asdict(summary), as_json)


def _models(settings: Settings, bundle: Path | None, model_version: str | None, model: str) -> Models:
    from tastemaker.registry import Registry
    from tastemaker_serving.batch import Models

    if bundle is not None:
        return Models(model_version or bundle.name, bundle.absolute())
    return Models(str(Registry(settings).resolve(model)))


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Give a text file with a user id in each line"
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}", remedy) from error


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _report(summary: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(summary) if as_json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
