"""`tastemaker bench train`: Ray Train beside a bare PyTorch loop."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def train(
    users: Annotated[int, typer.Option(min=100, help="Synthetic users, 40 events each.")] = 5_000,
    items: Annotated[int, typer.Option(min=100, help="Items of their catalogue.")] = 2_000,
    steps: Annotated[int, typer.Option(min=100, help="Steps of each run, 40 of them warm-up.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Train the two-tower under Ray Train and in a bare PyTorch loop over the same arrays.

    Examples per second are counted after start-up and warm-up, in the training process; validations and checkpoints
    are in. ratio is Ray with one worker over the mean of two bare runs, before and after it; cpu_ratio the same by
    the CPU time of the training process, which other work on the machine does not disturb. Two workers share a fixed
    global batch: workers_difference is how far the end of their loss curve is from one worker's, seed_difference how
    far another seed takes one worker.
    """
    from dataclasses import asdict

    from tastemaker_training.bench.train import run

    with Console(stderr=True, quiet=as_json).status("starting") as status:
        result = run(users, items, steps, status.update)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    runs = {"bare": result.bare, "bare again": result.bare_again, "Ray, 1": result.ray_1, "Ray, 2": result.ray_2}
    table = Table("", *runs, title=f"{steps} steps of {result.batch} examples")
    for name in ("examples_per_s", "examples_per_cpu_s", "seconds", "loss", "loss_error", "score"):
        table.add_row(name, *(f"{getattr(fit, name):,.4g}" for fit in runs.values()))
    for place, (step, _) in enumerate(result.bare.curve):
        table.add_row(f"loss to step {step}", *(f"{fit.curve[place][1]:.4f}" for fit in runs.values()))
    Console().print(table)
    for name in ("ratio", "cpu_ratio", "workers_difference", "seed_difference"):
        print(f"{name}: {getattr(result, name):.3f}")
