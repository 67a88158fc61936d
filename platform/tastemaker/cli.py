"""`tastemaker …`: the command line of the whole platform.

The commands of training and serving arrive through entry points, so that this package imports neither.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tastemaker import config
from tastemaker.data_cli import data
from tastemaker.errors import TastemakerError
from tastemaker.rollout.cli import rollout
from tastemaker.rollout.operator_cli import operator

app = typer.Typer(
    help="A whole production recommender: data, features, training, registry, serving.\n\n"
    "Start with `tastemaker demo`: it imports sample films, trains on them and serves slates. "
    "Settings come from tastemaker.yaml and TASTEMAKER_* variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
registry_app = typer.Typer(help="Model versions and the aliases that point at them.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(registry_app, name="registry")
app.add_typer(rollout, name="rollout")
app.add_typer(operator, name="operator")

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@registry_app.command("list")
def list_versions(as_json: JSON = False) -> None:
    """List the registered versions, newest first."""
    from tastemaker.registry import Registry

    versions = Registry(config.load()).versions()
    if as_json:
        print(json.dumps([{"version": version, "aliases": aliases} for version, aliases in versions]))
        return
    table = Table("version", "aliases")
    for version, aliases in versions:
        table.add_row(version, ", ".join(aliases))
    Console().print(table if versions else "No version yet. Train one with `tastemaker train`.")


@registry_app.command()
def promote(
    version: Annotated[str, typer.Argument(help="Version number, or an alias such as challenger.")],
    alias: Annotated[str, typer.Option(help="Alias that shall point at it.")] = "champion",
) -> None:
    """Point an alias at a version. `tastemaker serve` serves the champion."""
    from tastemaker.registry import Registry

    registry = Registry(config.load())
    ref = registry.resolve(version)
    registry.promote(ref.version, alias)
    print(f"{ref} is now {alias}.")


@registry_app.command()
def download(
    version: Annotated[str, typer.Argument(help="Version number, or an alias such as champion.")],
    as_json: JSON = False,
) -> None:
    """Fetch a version's bundle into the state directory, once, and print where it lies."""
    from tastemaker.registry import Registry

    registry = Registry(config.load())
    ref = registry.resolve(version)
    path = registry.download(ref)
    print(json.dumps({"version": str(ref), "path": str(path)}) if as_json else path)


@app.command()
def ingest(
    redis_url: Annotated[str | None, typer.Option(help="Default: the configured or the running embedded one.")] = None,
) -> None:
    """Take events from the stream into user state, trending counters and the lake, until stopped."""
    import signal
    import threading

    from tastemaker.embedded import connect_url
    from tastemaker.events.ingest import run

    settings = config.load()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    run(settings, redis_url or connect_url(settings), stop)


def _gather() -> None:
    for entry in importlib.metadata.entry_points(group="tastemaker.commands"):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and exit code 2."""
    try:
        logging.basicConfig(level=config.load().log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        _gather()
        app()
    except TastemakerError as error:
        print(f"tastemaker: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
