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
    recipe: Annotated[
        str, typer.Option(help="Named run: default, or smoke for one of seconds; or a YAML file of your own.")
    ] = "default",
    workers: Annotated[
        str, typer.Option(help="Ray Train workers, such as 2, or 1-4 for as many as there is room for.")
    ] = "1",
    gpu: Annotated[bool, typer.Option("--gpu", help="Give each worker a GPU.")] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of everything random.", show_default="the recipe's")
    ] = None,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Leave a champion in place: a rollout shall decide.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Train on the lake: two-tower, item-to-item table, ranker; evaluate; register the bundle.

    The new version becomes the champion, which `tastemaker serve` serves, when no gate refuses it.
    An interrupted run goes on from its last checkpoint when the same command is given again.

    A recipe of your own is a file NAME.yaml with what it has other than the one it is based on, such as

      {base: smoke, two_tower: {dim: 64, steps: 200}, ranker: {hidden: 32}}

    docs/models.md says what there is; a field that there is not is refused.
    """
    from dataclasses import replace

    from tastemaker_training.hardware import hardware
    from tastemaker_training.job import Job
    from tastemaker_training.narrator import Narrator
    from tastemaker_training.recipe_file import chosen as recipe_of
    from tastemaker_training.run import train as run

    chosen = recipe_of(recipe)
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    ref, report = run(Job(config.load(), chosen, hardware(workers, gpu=gpu), Narrator(quiet=as_json), challenger))
    if as_json:
        print(json.dumps({"version": str(ref), "report": report}))
    else:
        _print(report, str(ref))


def evaluate(
    model: Annotated[str, typer.Option(help="Version number or alias in the registry.")] = "champion",
    record: Annotated[
        bool, typer.Option("--record", help="Let the gates of the registry go by this evaluation from now on.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Evaluate a registered bundle on its holdout, beside popularity, ALS, its own two-tower model and the champion.

    The newest 20 % of each user's events up to the end of the bundle's data window are the holdout; items seen before
    are masked and the whole catalogue competes. Intervals are 95 % intervals over users.
    """
    from tastemaker import bundle
    from tastemaker.features.definitions import schema_hash
    from tastemaker.registry import Registry
    from tastemaker_training.incumbent import incumbent
    from tastemaker_training.recipes import from_document
    from tastemaker_training.report import evaluate as report_on

    settings = config.load()
    registry = Registry(settings)
    ref = registry.resolve(model)
    opened = bundle.read(registry.download(ref), feature_schema=schema_hash())
    with Console(stderr=True, quiet=as_json).status(f"evaluating {ref}"):
        champion = incumbent(registry, ref.version)
        report = report_on(opened, settings, from_document(opened.json("recipe")), champion)
    if record:
        registry.note(ref.version, report)
    if as_json:
        print(json.dumps(report))
    else:
        _print(report, str(ref))


def _print(report: dict[str, Any], version: str) -> None:
    split = report["split"]
    table = Table(title=f"{version} on {split['users']} users: {split['holdout']}, {split['relevant']}")
    models = report["models"]
    table.add_column("metric")
    for model in models:
        table.add_column(model, justify="right", overflow="fold")
    for name in (name for name in models["served"] if not name.endswith("_ci")):
        table.add_row(name, *(_cell(metrics, name) for metrics in models.values()))
    console = Console()
    console.print(table)
    pipeline = report["pipeline"]
    covered = ", ".join(f"{share:.1%} in {stage}" for stage, share in pipeline["coverage"].items())
    reach = f"{pipeline['reach']:.1%} in foremost candidates"
    console.print(f"Of the catalogue: {covered}; {reach}. CPU of a request: p99 {pipeline['cpu_ms']['p99']:.1f} ms.")


def _cell(metrics: dict[str, Any], name: str) -> str:
    if name not in metrics:
        return "-"
    value = f"{metrics[name]:.3f}"
    if f"{name}_ci" not in metrics:
        return value
    low, high = metrics[f"{name}_ci"]
    return f"{value} \\[{low:.3f}, {high:.3f}]"
