"""`tastemaker registry …`: model versions, what is known of them, and which of them is served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tastemaker import config

if TYPE_CHECKING:  # the command line starts without MLflow
    from tastemaker.gates import Verdict
    from tastemaker.papers import Registered
    from tastemaker.registry import Registry

registry = typer.Typer(help="Model versions and the aliases that point at them.", no_args_is_help=True)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Version = Annotated[str, typer.Argument(help="Version number, or an alias such as challenger.")]


@registry.command("list")
def list_versions(as_json: JSON = False) -> None:
    """List the registered versions, newest first, and what the gates say of them now."""
    from tastemaker.registry import CHAMPION

    found = _registry().versions()
    champion = next((version for version in found if CHAMPION in version.aliases), None)
    if as_json:
        print(json.dumps([_row(version, champion) for version in found]))
        return
    table = Table("version", "aliases", "made", "recipe", "data until", "recall", "gates")
    for version in found:
        row = _row(version, champion)
        recall = "" if row["recall"] is None else f"{row['recall']:.3f}"
        excuse = f" ({row['let_through']})" if row["failed"] and row["let_through"] else ""
        gates = (", ".join(row["failed"]) or "pass") + excuse
        aliases, made = ", ".join(version.aliases), version.created_at.strftime("%Y-%m-%d %H:%M")
        table.add_row(version.version, aliases, made, row["recipe"], row["data_until"][:16], recall, gates)
    Console().print(table if found else "No version yet. Train one with `tastemaker train`.")


@registry.command()
def show(version: Version = "champion", as_json: JSON = False) -> None:
    """Show the model card of a version, and what the gates say of it now."""
    opened = _registry()
    found = opened.registered(version)
    said = _verdicts(opened, found)
    if as_json:
        fields = {"version": found.version, "aliases": found.aliases, "created_at": found.created_at.isoformat()}
        told = [{"gate": it.gate, "passed": it.passed, "finding": it.finding} for it in said]
        print(json.dumps({**fields, "tags": dict(found.tags), "gates": told, "card": opened.card(found.version)}))
        return
    from rich.markdown import Markdown

    from tastemaker.promotion import let_through

    console = Console()
    console.print(Markdown(opened.card(found.version) or f"Version {found.version} has no model card."))
    excuse = let_through(found) if any(verdict.failed for verdict in said) else ""
    console.print(f"\nGates as they are set now: {excuse if said else 'none'}")
    for verdict in said:
        mark = {True: "[green]✓", False: "[red]✗", None: "[yellow]?"}[verdict.passed]
        console.print(f"  {mark}[/] {verdict.gate}: {verdict.finding}", highlight=False)


@registry.command()
def promote(
    version: Version,
    alias: Annotated[str, typer.Option(help="Alias that shall point at it.")] = "champion",
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Let it through every gate; the reason stays with the version.")
    ] = None,
) -> None:
    """Point an alias at a version. `tastemaker serve` serves the champion; gates stand before it."""
    from tastemaker import promotion
    from tastemaker.registry import CHAMPION

    opened = _registry()
    ref = opened.resolve(version)
    if alias != CHAMPION:
        opened.point(ref.version, alias)
    else:
        if force is not None:
            promotion.waive(opened, ref.version, force)
        promotion.promote(opened, ref.version)
    print(f"{ref} is now {alias}.")


@registry.command()
def waive(version: Version, reason: Annotated[str, typer.Argument(help="Why; it stays with the version.")]) -> None:
    """Let a version through every gate, so that a rollout may try it."""
    from tastemaker import promotion

    opened = _registry()
    ref = opened.resolve(version)
    promotion.waive(opened, ref.version, reason)
    print(f"No gate stops {ref}.")


@registry.command()
def download(version: Version, as_json: JSON = False) -> None:
    """Fetch a version's bundle into the state directory, once, and print where it lies."""
    opened = _registry()
    ref = opened.resolve(version)
    path = opened.download(ref)
    print(json.dumps({"version": str(ref), "path": str(path)}) if as_json else path)


def _registry() -> Registry:
    from tastemaker.registry import Registry

    return Registry(config.load())


def _verdicts(opened: Registry, found: Registered) -> list[Verdict]:
    from tastemaker.promotion import champion_beside, verdicts

    return verdicts(found.evidence, champion_beside(opened, found.version), opened.settings.gates)


def _row(found: Registered, champion: Registered | None) -> dict[str, Any]:
    from tastemaker.promotion import let_through, verdicts

    beside = None if champion is None or champion.version == found.version else champion
    said = verdicts(found.evidence, beside, config.load().gates)
    return {
        "version": found.version,
        "aliases": found.aliases,
        "created_at": found.created_at.isoformat(),
        "recipe": found.tags.get("recipe", ""),
        "data_until": found.tags.get("data_until", ""),
        "feature_schema": found.tags.get("feature_schema", ""),
        "recall": found.evidence.recall if found.evidence else None,
        "failed": [verdict.gate for verdict in said if verdict.failed],
        "let_through": let_through(found),
    }
