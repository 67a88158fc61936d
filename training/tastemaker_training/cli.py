"""The commands of the offline path: `train`, `evaluate`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tastemaker import config

JSON = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def train(
    recipe: Annotated[str, typer.Option(help="Named run: default, or smoke for one of seconds.")] = "default",
    workers: Annotated[int, typer.Option(min=1, help="Ray Train workers; the batch is shared among them.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each worker a GPU.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Leave a champion in place: a rollout shall decide.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Train on the lake: two-tower, item-to-item table, ranker; evaluate; register the bundle.

    The new version becomes the champion, which `tastemaker serve` serves, when it beats popularity on the holdout.
    An interrupted run goes on from its last checkpoint when the same command is given again.
    """
    from dataclasses import replace

    from tastemaker_training import recipes
    from tastemaker_training.cluster import Hardware
    from tastemaker_training.job import Job
    from tastemaker_training.narrator import Narrator
    from tastemaker_training.run import train as run

    chosen = replace(recipes.named(recipe), seed=seed)
    ref, report = run(Job(config.load(), chosen, Hardware(workers, gpu), Narrator(quiet=as_json), challenger))
    if as_json:
        print(json.dumps({"version": str(ref), "report": report}))
    else:
        _print(report, str(ref))


def evaluate(
    model: Annotated[str, typer.Option(help="Version number or alias in the registry.")] = "champion",
    as_json: JSON = False,
) -> None:
    """Evaluate a registered bundle on its holdout, beside popularity, ALS and its own two-tower model.

    The newest 20 % of each user's events up to the end of the bundle's data window are the holdout; items seen before
    are masked and the whole catalogue competes. Intervals are 95 % bootstrap intervals over users.
    """
    from tastemaker import bundle
    from tastemaker.features.definitions import schema_hash
    from tastemaker.registry import Registry
    from tastemaker_training.recipes import from_document
    from tastemaker_training.report import evaluate as report_on

    settings = config.load()
    registry = Registry(settings)
    ref = registry.resolve(model)
    opened = bundle.read(registry.download(ref), feature_schema=schema_hash())
    with Console(stderr=True, quiet=as_json).status(f"evaluating {ref}"):
        report = report_on(opened, settings, from_document(opened.json("recipe")))
    if as_json:
        print(json.dumps(report))
    else:
        _print(report, str(ref))


def _print(report: dict[str, Any], version: str) -> None:
    split = report["split"]
    table = Table(title=f"{version} on {split['users']} users: {split['holdout']}, {split['relevant']}")
    models = report["models"]
    names = [name for name in next(iter(models.values())) if not name.endswith("_ci")]
    for name in ("model", *names):
        table.add_column(name.replace("_", " "), justify="left" if name == "model" else "right", overflow="fold")
    for model, metrics in models.items():
        table.add_row(model, *(_cell(metrics, name) for name in names))
    Console().print(table)


def _cell(metrics: dict[str, Any], name: str) -> str:
    value = f"{metrics[name]:.3f}"
    if f"{name}_ci" not in metrics:
        return value
    low, high = metrics[f"{name}_ci"]
    return f"{value} \\[{low:.3f}, {high:.3f}]"
