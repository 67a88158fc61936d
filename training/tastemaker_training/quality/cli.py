"""`tastemaker bench quality`: models on public data sets."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tastemaker_training.quality.outcome import Outcome


class Format(StrEnum):
    """How a data set lies on disk, and with it the convention of its published tables."""

    LIGHTGCN = "lightgcn"
    SEQUENCES = "sequences"
    PAIRS = "pairs"
    CLICKS = "clicks"
    CTR = "ctr"


def quality(
    path: Annotated[Path, typer.Argument(exists=True, help="Folder or file of the data set.")],
    layout: Annotated[Format, typer.Option("--format", help="Layout of the data, and what is measured.")],
    model: Annotated[
        str,
        typer.Option(help="popularity, als, content, transition, graph-filter, two-tower, or hybrid: what is served."),
    ] = "hybrid",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    train_on_validation: Annotated[
        bool,
        typer.Option(
            "--train-on-validation", help="sequences, pairs: also learn from the validation items, as some tables do."
        ),
    ] = False,
    delay: Annotated[
        str | None,
        typer.Option(
            help="clicks: seconds until a click may be used (default 60), or `hour`: from the next full hour on."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Measure a model on a public data set by the convention of its published tables.

    \b
    lightgcn   train.txt, test.txt: a user, then items per line → Recall@20, NDCG@20
    sequences  a user, then items in time order per line → leave-one-out, HR@10, NDCG@10
    pairs      a user and an item per line, in time order → as sequences
    clicks     Parquet of clicks and articles → replay in time order, HR@10, MRR@10, by article age
    ctr        train, valid and test tables with a label → AUC, log loss of the ranker

    All items compete, items of the user's history are masked, metrics are means over users with 95 % intervals.
    Validation is cut from the training data; the test is asked once. Files may be gzipped.
    """
    from tastemaker_training.quality.run import measure

    with Console(stderr=True, quiet=as_json).status("reading") as status:
        outcome = measure(
            layout.value,
            path,
            model,
            seed=seed,
            train_on_validation=train_on_validation,
            delay=delay,
            tell=status.update,
        )
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(outcome)))
    else:
        _print(outcome)


def _print(outcome: Outcome) -> None:
    table = Table("metric", "value", "95 % interval", title=f"{outcome.model} on {outcome.format}, seed {outcome.seed}")
    for name, value in outcome.metrics.items():
        low, high = outcome.intervals.get(name, [value, value])
        table.add_row(name, f"{value:.4f}", f"{low:.4f} to {high:.4f}")
    console = Console()
    console.print(table)
    sizes = "".join(f"{value:,.0f} {name}, " for name, value in outcome.details.items())
    console.print(
        f"{sizes}{outcome.wall_s:.0f} s, {outcome.cpu_s:.0f} s of CPU, {outcome.peak_rss_mb:,.0f} MB at its peak"
    )
