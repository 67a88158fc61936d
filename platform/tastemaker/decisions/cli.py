"""`tastemaker explain`: how a slate came about, of any request that was logged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tastemaker import config
from tastemaker.errors import NotFound, Unavailable

if TYPE_CHECKING:  # the command line starts without pyarrow
    from tastemaker.config import Settings
    from tastemaker.decisions.explanation import Explanation, Fate
    from tastemaker.decisions.record import Decision


def explain(
    request_id: Annotated[str, typer.Argument(help="Of a slate: its `request_id`.")],
    item: Annotated[str | None, typer.Option(help="An item: why it was shown, or which stage dropped it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Say why a slate is as it is: what was proposed, by whom, with which scores, and what dropped the rest.

    Recent requests are found in Redis, older ones in the lake. Which are logged, and in what detail: `decisions` in the
    settings.
    """
    import msgspec

    from tastemaker.decisions import explanation

    settings = config.load()
    in_catalogue = None if item is None else _has(settings, item)
    told = explanation.explain(_find(settings, request_id), item, in_catalogue=in_catalogue)
    if as_json:
        print(msgspec.json.encode(told).decode())
        return
    console = Console()
    _tell_slate(console, told)
    if told.item is not None:
        _tell_item(console, told.item)


def _find(settings: Settings, request_id: str) -> Decision:
    from tastemaker.decisions import archive
    from tastemaker.lake import Lake

    decision, lake = asyncio.run(_recent(settings, request_id)), Lake(settings.lake)
    if decision is None:
        decision = archive.find(lake, request_id)
    elif decision.origin and decision.trace is None:  # what computed it may be no longer recent
        decision = decision.computed_by(archive.find(lake, decision.origin))
    if decision is None:
        raise NotFound(
            f"no decision of request {request_id!r} was logged, or none that is in the lake yet",
            "Ask with explain=true to have one logged for certain; `decisions.slates` is the share of all that are",
        )
    return decision


def _has(settings: Settings, item_id: str) -> bool | None:
    """Whether the lake's catalogue has the item, available; None where there is no catalogue."""
    import pyarrow.compute as pc

    from tastemaker import columns
    from tastemaker.lake import Lake

    try:
        items = Lake(settings.lake).items()
    except NotFound:
        return None
    there = items.filter(pc.equal(items[columns.ITEM_ID], item_id))[columns.AVAILABLE].to_pylist()
    return any(available is not False for available in there)


async def _recent(settings: Settings, request_id: str) -> Decision | None:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    from tastemaker.decisions import recent
    from tastemaker.embedded import connect_url

    try:
        async with Redis.from_url(connect_url(settings)) as redis:
            return await recent.find(redis, request_id)
    except (Unavailable, RedisError, OSError):
        return None  # the lake may have it


def _tell_slate(console: Console, told: Explanation) -> None:
    console.print(
        f"[bold]{told.request_id}[/]: user {escape(told.user_id)}, scene {told.scene}, "
        f"{told.time:%Y-%m-%d %H:%M:%S} UTC\n"
        f"{told.model_version} ({told.colour}), served from {told.served_from}"
        + (f" as computed by {told.origin}" if told.origin else "")
        + (f", without {', '.join(told.degraded)}" if told.degraded else ""),
        highlight=False,
    )
    if told.candidates:
        dropped = ", ".join(f"{stage} {count:,}" for stage, count in told.dropped.items() if count)
        console.print(f"{told.candidates:,} candidates for the ranker; dropped: {dropped or 'none'}", highlight=False)
    if told.stage_ms:
        console.print("ms: " + ", ".join(f"{stage} {took:g}" for stage, took in told.stage_ms.items()), highlight=False)
    table = Table("", "item", "rank", "score", "source", "chance", "reason")
    for place in told.items:
        rank = "" if place.rank is None else f"{place.rank:,}"
        chance = "" if place.propensity is None else f"{place.propensity:.3g}"
        score, position = f"{place.score or 0:.4g}", str((place.position or 0) + 1)
        table.add_row(position, escape(place.item_id), rank, score, place.source, chance, escape(place.reason or ""))
    console.print(table)


def _tell_item(console: Console, fate: Fate) -> None:
    console.print(f"[bold]{escape(fate.item_id)}[/] ({fate.stage}): {escape(fate.why)}", highlight=False)
    if fate.signals:
        table = Table("signal", "value", "rank")
        for name, signal in fate.signals.items():
            table.add_row(name, f"{signal.value:.4g}", f"{signal.rank:,}")
        console.print(table)
