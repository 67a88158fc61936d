"""`tastemaker replay`: logged requests through another bundle."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tastemaker import config
from tastemaker.errors import NotFound

if TYPE_CHECKING:
    from tastemaker.config import Settings
    from tastemaker.decisions.record import Decision
    from tastemaker_serving.rerun import Rerun

MOST_CHANGED = 10


def replay(
    model: Annotated[str, typer.Option(help="Version number or alias in the registry.")] = "challenger",
    bundle: Annotated[Path | None, typer.Option(help="Directory of a bundle, in place of --model.")] = None,
    days: Annotated[float, typer.Option(min=0, help="Requests of so many days.")] = 7,
    scene: Annotated[str | None, typer.Option(help="Only of this scene.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many requests.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Run logged requests again through another bundle and say how its slates differ from those that were shown.

    Only requests that were logged in full detail (`decisions.full`) and answered without a fault can be run again. The
    bundle that answered them answers them alike. What an item of the lists is about: `tastemaker explain`.
    """
    from tastemaker import bundle as bundles
    from tastemaker_serving.cli import resolve
    from tastemaker_serving.rerun import is_whole, rerun

    settings = config.load()
    path, version = (bundle, bundle.name) if bundle is not None else resolve(settings, model)
    found = _logged(settings, datetime.now(UTC) - timedelta(days=days), scene, limit)
    whole = [decision for decision in found if is_whole(decision)]
    if not whole:
        raise NotFound(
            f"no request of the last {days:g} days was logged in full detail and without a fault",
            "Raise `decisions.full`, the share of requests that are, or --days",
        )
    console = Console(stderr=True)
    running = rerun(bundles.read(path), settings, whole)
    reruns = list(track(running, "replaying", len(whole), console=console, transient=True, disable=as_json))
    report = _report(version, whole, reruns, left_out=len(found) - len(whole))
    print(json.dumps(report)) if as_json else _tell(Console(), report)


def _logged(settings: Settings, since: datetime, scene: str | None, limit: int) -> list[Decision]:
    from tastemaker.decisions import archive
    from tastemaker.lake import Lake

    return list(deque(archive.traced(Lake(settings.lake), since, scene), maxlen=limit))


def _report(version: str, whole: list[Decision], reruns: list[Rerun], left_out: int) -> dict[str, Any]:
    from collections import Counter

    from tastemaker_serving.rerun import Comparison, by_scene

    changed = sorted((rerun for rerun in reruns if rerun.moves != [0] * len(rerun.before)), key=lambda one: one.overlap)
    return {
        "model_version": version,
        "answered_by": dict(Counter(decision.model_version for decision in whole)),
        "left_out": left_out,
        "all": asdict(Comparison.of(reruns)),
        "scenes": {scene: asdict(comparison) for scene, comparison in by_scene(reruns).items()},
        "most_changed": [
            {"request_id": rerun.request_id, "overlap": rerun.overlap, "before": rerun.before, "after": rerun.after}
            for rerun in changed[:MOST_CHANGED]
        ],
    }


def _tell(console: Console, report: dict[str, Any]) -> None:
    answered = ", ".join(f"{version} ({count:,})" for version, count in report["answered_by"].items())
    console.print(f"{report['model_version']} beside what was answered by {answered}", highlight=False)
    if report["left_out"]:
        console.print(f"{report['left_out']:,} requests that a fault had touched are left out.", highlight=False)
    table = Table("scene", "requests", "overlap@n", "same slates", "same first", "places moved")
    rows = report["scenes"] | ({"all": report["all"]} if len(report["scenes"]) > 1 else {})
    for scene, told in rows.items():
        shares = [f"{told[name]:.3f}" for name in ("overlap", "same", "first")]
        table.add_row(scene, f"{told['requests']:,}", *shares, f"{told['moved']:.2f}")
    console.print(table)
    if report["most_changed"]:
        names = ", ".join(changed["request_id"] for changed in report["most_changed"])
        console.print(f"Most changed: {names}", highlight=False)
