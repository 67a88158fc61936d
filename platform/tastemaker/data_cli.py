"""`tastemaker data …`: bringing data into the lake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tastemaker import config
from tastemaker.errors import InvalidInput
from tastemaker.importing import FORMATS, ImportReport, ImportRequest, import_data
from tastemaker.lake import Lake

data = typer.Typer(help="Bring events and a catalogue into the lake, and erase what must go.", no_args_is_help=True)


@data.command("import")
def import_command(  # noqa: PLR0913
    path: Annotated[Path, typer.Argument(help="File with events; for movielens a directory or its archive.")],
    format: Annotated[str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.")],  # noqa: A002
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="OURS=THEIRS: event column and the file's column that holds it. Repeat as needed."),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option(help="Type of every event, where the file has no such column; e.g. view or rating.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="File with the catalogue, in the same format.")] = None,
    item_columns: Annotated[
        list[str] | None, typer.Option("--map-items", help="OURS=THEIRS for the catalogue's columns.")
    ] = None,
    max_bad: Annotated[
        float, typer.Option(help="Share of rows that may be left out as bad; above it, refused.")
    ] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Import events and items. All is checked before anything is written; importing a file again changes nothing.

    Event columns: user_id, item_id, timestamp (ISO 8601 or seconds since 1970), event_type; and, where you have them,
    event_id, value, session_id, device, scene, request_id, position.

    Item columns: item_id, title; and categories (parted by |), release_year, content_length_min, text.

    Examples:

      tastemaker data import --format movielens data/movielens-small

      tastemaker data import --format csv plays.csv --map user_id=account --map item_id=track --event-type play \\
      --items tracks.csv --map-items item_id=track --map-items title=name
    """
    settings = config.load()
    request = ImportRequest(
        format=format,
        path=path,
        mapping=_mapping(columns, "--map"),
        event_type=event_type,
        items=items,
        items_mapping=_mapping(item_columns, "--map-items"),
        max_bad=max_bad,
    )
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task("opening the lake")
        report = import_data(
            Lake(settings.lake), request, settings, lambda what: progress.update(task, description=what)
        )
    print(json.dumps(report.as_json()) if as_json else _story(report, settings.lake))


@data.command("erase")
def erase_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Erase the copies of users who asked to be forgotten, and decisions that are older than `decisions.keep_days`.

    `DELETE /v1/users/{id}` forgets a user online at once and leaves a tombstone; this erases their events, profiles,
    decisions and features from the lake, their features from the online store, and what of theirs lies among the dead
    letters. What they did after they asked stays. Run it every day (`jobs.erase` of the chart): it may be killed at
    any point, and running it again is safe.

    Example:

      tastemaker data erase --json
    """
    from dataclasses import asdict

    from redis import Redis

    from tastemaker import embedded, retention
    from tastemaker.features.store import Features

    settings = config.load()
    with (
        Console(stderr=True, quiet=as_json).status("erasing"),
        embedded.server(settings) as redis_url,
        Redis.from_url(redis_url) as redis,
    ):
        features = Features(settings, redis_url)
        done = retention.erase(Lake(settings.lake), redis, settings.decisions.keep_days, features.forget)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(
        f"{done.users:,} users want to be forgotten; erased: {done.events:,} events, {done.profiles:,} profiles, "
        f"{done.decisions:,} decisions, {done.features:,} rows of features, {done.dead_letters:,} dead letters.\n"
        f"{done.expired:,} decisions were too old."
    )


def _mapping(flags: list[str] | None, flag: str) -> dict[str, str]:
    mapping = {}
    for text in flags or ():
        ours, equals, theirs = text.partition("=")
        if not (ours and equals and theirs):
            raise InvalidInput(f"{flag} {text!r} is not OURS=THEIRS", f"For example `{flag} item_id=movieId`")
        mapping[ours] = theirs
    return mapping


def _story(report: ImportReport, lake: str) -> str:
    lines = [
        f"{report.new_events:,} new events of {report.events:,} and {report.items:,} items are in {lake} "
        f"({report.seconds:.1f} s)."
    ]
    if report.untitled_items:
        lines.append(f"{report.untitled_items:,} items have no catalogue entry; their id is their title.")
    if report.bad_rows:
        lines.append(f"{report.bad_rows:,} bad rows were left out. The first:")
        lines += [f"  {bad}" for bad in report.first_bad]
    return "\n".join(lines)
