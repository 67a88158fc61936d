"""How the ranker is fitted: here, or on each Ray Train worker.

Each worker has its own share of the lists; gradients are averaged over workers. A checkpoint follows each epoch, and a
restarted worker goes on from the last one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch import Tensor

from tastemaker_training import checkpoints, cluster
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.model import Ranker, Widths
from tastemaker_training.recipes import RankerRecipe

LAST_RATE = 0.05  # the learning rate ends at this share of its peak


@dataclass(frozen=True)
class RankerTask:
    """Everything that a worker needs."""

    recipe: RankerRecipe
    lists: Lists
    items: Tensor  # (N, I)
    seed: int
    start: tuple[float, ...]  # (F,) the linear skip's first weights


@dataclass(frozen=True)
class Share:
    """Which part of the lists a worker takes."""

    rank: int
    workers: int


ALL = Share(rank=0, workers=1)


def fit(task: RankerTask) -> Ranker:
    """A ranker fitted to the lists of `task`, in this process."""
    torch.manual_seed(task.seed)
    ranker = fresh(task)
    for _ in epochs(ranker, optimizer_of(ranker, task.recipe), task):
        pass
    return ranker.eval()


def fresh(task: RankerTask) -> Ranker:
    """An untrained ranker that knows the scale of its inputs."""
    lists = task.lists
    user = lists.user_vectors.shape[1] + lists.profiles.shape[1]
    widths = Widths(user=user, item=task.items.shape[1], cross=lists.cross.shape[2])
    ranker = Ranker(widths, lists.heads, task.start, task.recipe)
    ranker.see(lists, task.items)
    return ranker


def optimizer_of(ranker: Ranker, recipe: RankerRecipe) -> torch.optim.Optimizer:
    """AdamW over all weights (Loshchilov & Hutter 2019). The strong decay is what keeps few lists from overfitting."""
    return torch.optim.AdamW(ranker.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def epochs(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, task: RankerTask, start: int = 0, share: Share = ALL
) -> Iterator[tuple[int, float]]:
    """Train `model` from epoch `start` on, yielding each epoch and its mean loss once it is over."""
    lists, recipe = task.lists, task.recipe
    device = next(model.parameters()).device
    items = task.items.to(device)
    size = min(recipe.batch, len(lists))
    steps = len(lists) // size
    for epoch in range(start, recipe.epochs):
        model.train()
        # All workers go through the lists in the same order, each with other negatives; a restart repeats neither.
        order = torch.randperm(len(lists), generator=torch.Generator().manual_seed(task.seed + epoch))
        torch.manual_seed(task.seed + epoch * share.workers + share.rank)
        total = 0.0
        for step in range(steps):
            progress = (epoch * steps + step) / (recipe.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * learning_rate(progress)
            rows = order[step * size : (step + 1) * size][share.rank :: share.workers]
            loss = model(lists.take(rows).to(device).sample(recipe.negatives), items)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        yield epoch, total / steps


def learning_rate(progress: float) -> float:
    """Share of the peak rate when `progress` in [0, 1] of the steps is done: half a cosine."""
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress))


def train_ranker_worker(config: dict[str, Any]) -> None:
    """Entry point of a worker. `config["task"]` refers to a `RankerTask`, `config["progress"]` to a queue."""
    task: RankerTask = ray.get(config["task"])
    share = Share(*cluster.place())
    cluster.take_threads(config["threads"])
    torch.manual_seed(task.seed)
    ranker = fresh(task)
    state = checkpoints.last()
    if state:
        ranker.load_state_dict(state["ranker"])
    model = ray.train.torch.prepare_model(ranker)
    optimizer = optimizer_of(ranker, task.recipe)
    if state:
        optimizer.load_state_dict(state["optimizer"])
    start, losses = (state["epoch"], state["losses"]) if state else (0, [])
    if share.rank == 0:
        cluster.tell(config["progress"], cluster.Started("ranker", start, share.workers))
    for epoch, loss in epochs(model, optimizer, task, start, share):
        losses = [*losses, loss]
        reached = {"epoch": epoch + 1, "ranker": ranker.state_dict(), "losses": losses}
        reached["optimizer"] = optimizer.state_dict()
        metrics = {"stage": "ranker", "step": epoch + 1, "steps": task.recipe.epochs, "loss": loss}
        checkpoints.report(reached, metrics, share.rank)
        if share.rank == 0:
            cluster.tell(config["progress"], metrics)
