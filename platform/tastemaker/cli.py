"""`tastemaker …`: the command line of the whole platform.

The commands of training and serving arrive through entry points, so that this package imports neither.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys

import typer

from tastemaker import config
from tastemaker.data_cli import data
from tastemaker.decisions.cli import explain
from tastemaker.errors import TastemakerError
from tastemaker.events.cli import ingest
from tastemaker.keys_cli import keys
from tastemaker.registry_cli import registry
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
bench = typer.Typer(help="Benchmarks. Each measures itself against a baseline of the same run.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(registry, name="registry")
app.add_typer(rollout, name="rollout")
app.add_typer(operator, name="operator")
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")
app.add_typer(ingest, name="ingest")
app.command()(explain)


def _gather() -> None:
    for whole, group in ((app, "tastemaker.commands"), (bench, "tastemaker.bench")):
        for entry in importlib.metadata.entry_points(group=group):
            command = entry.load()
            if isinstance(command, typer.Typer):
                whole.add_typer(command, name=entry.name)
            else:
                whole.command(entry.name)(command)


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
