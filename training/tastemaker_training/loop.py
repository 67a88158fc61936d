"""What runs on each Ray Train worker: the two-tower model, fitted to the past, then refreshed on everything.

Each worker draws its own share of every batch; gradients are averaged over workers. A checkpoint follows each
validation, and a restarted worker goes on from the last one.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import ray.train
import ray.train.collective
import ray.train.torch
import torch

from tastemaker_training.dataset import Sampler
from tastemaker_training.evaluate import Judgements, ndcg_per_user, recall_per_user
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.two_tower import Batch, ItemInputs, TwoTower

WARM_UP_STEPS = 50
LAST_RATE = 0.1  # the learning rate ends at this share of its peak
CHECKPOINT = "state.pt"

State = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One fit: what it draws from, and for how long."""

    name: str
    interactions: Interactions
    profiles: Floats  # (E + 1, P)
    items: ItemInputs
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class Validation:
    """What early stopping looks at: V users' histories, what they had seen, and what they liked next."""

    histories: Batch
    seen: npt.NDArray[np.int32]  # (V, S) item codes, -1 is padding
    truth: Judgements


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs."""

    recipe: TwoTowerRecipe
    stages: tuple[Stage, ...]
    validation: Validation  # of the first stage
    liked: float
    seed: int
    threads: int  # of the machine, shared by its workers


def train_worker(config: dict[str, Any]) -> None:
    """Entry point of a worker. `config["task"]` refers to a `Task`, `config["progress"]` to a queue for the driver."""
    task: Task = ray.get(config["task"])
    context = ray.train.get_context()
    torch.set_num_threads(max(1, task.threads // context.get_local_world_size()))
    torch.manual_seed(task.seed + context.get_world_rank())
    model = TwoTower(task.stages[0].items, task.stages[0].profiles.shape[1], task.recipe)
    state = _last_state() or {"stage": 0, "step": 0, "model": model.state_dict(), "best": None, "fitted": None}
    model.load_state_dict(state["model"])
    for number in range(state["stage"], len(task.stages)):
        model.items.see(task.stages[number].items)
        wrapped = ray.train.torch.prepare_model(model)
        state = _fit(wrapped, model, task, number, state, config["progress"].put)
        model.load_state_dict(state["model"])


def load_state(checkpoint: ray.train.Checkpoint) -> State:
    """The state that a checkpoint holds: tensors and numbers only."""
    with checkpoint.as_directory() as directory:
        return torch.load(Path(directory) / CHECKPOINT, weights_only=True, map_location="cpu")  # type: ignore[no-any-return]


def learning_rate(step: int, steps: int) -> float:
    """Share of the peak rate at `step`: a linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
    decay = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * decay


def _fit(
    wrapped: torch.nn.Module, model: TwoTower, task: Task, number: int, state: State, tell: Callable[[State], None]
) -> State:
    """Run one stage to its end or to its early stop; returns the state that the next one starts from."""
    context, stage, recipe = ray.train.get_context(), task.stages[number], task.recipe
    device = next(model.parameters()).device
    stream = np.random.default_rng([task.seed, number, context.get_world_rank(), state["step"]])
    sampler = Sampler(stage.interactions, stage.profiles, task.liked, recipe, stream)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=stage.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    if state.get("optimizer"):
        optimizer.load_state_dict(state["optimizer"])
    losses: list[float] = []
    worse = 0
    for step in range(state["step"], stage.steps):
        wrapped.train()
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * learning_rate(step, stage.steps)
        loss = wrapped(sampler.draw(recipe.batch // context.get_world_size()).to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        last = step + 1 == stage.steps
        if (step + 1) % recipe.validate_every and not last:
            continue
        state = {**state, "stage": number, "step": step + 1, "model": model.state_dict()}
        state["optimizer"] = optimizer.state_dict()
        if number == 0:
            score = _shared(validate, model, task.validation)
            if state["best"] is None or score > state["best"]["score"]:
                worse, state["best"] = 0, {"score": score, "step": step + 1, "model": copy.deepcopy(model.state_dict())}
            else:
                worse += 1
        finished = last or worse >= recipe.patience
        if finished:
            state = _closed(state, number)
        _report(state, stage, step + 1, float(np.mean(losses)), tell)
        losses.clear()
        if finished:
            break
    return state


def _closed(state: State, number: int) -> State:
    """The state after a stage: the first ends with its best model, which is kept for the ranker."""
    state = {**state, "stage": number + 1, "step": 0, "optimizer": None}
    if number == 0:
        state["model"] = state["fitted"] = state["best"]["model"]
    return state


def validate(model: TwoTower, validation: Validation) -> float:
    """Mean over users of recall@20 + NDCG@20 on what they liked next."""
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        users = model.user_vectors(validation.histories.to(device))
        items = model.items(torch.arange(len(model.items.hashes), device=device))
        scores = users @ items.T
    seen = torch.from_numpy(validation.seen).long().to(device)
    # The padding's -1 lands in an extra last column.
    scores = torch.cat([scores, scores.new_zeros(len(scores), 1)], 1)
    scores.scatter_(1, torch.where(seen < 0, scores.shape[1] - 1, seen), -torch.inf)
    slates = scores[:, :-1].topk(min(20, scores.shape[1] - 1)).indices.cpu().numpy().astype(np.int32)
    truth = validation.truth
    return float((recall_per_user(slates, truth) + ndcg_per_user(slates, truth)).mean())


def _shared(compute: Callable[..., float], *arguments: Any) -> float:
    """A number that rank 0 computes and every worker knows, so that all stop together."""
    mine = compute(*arguments) if ray.train.get_context().get_world_rank() == 0 else None
    return float(ray.train.collective.broadcast_from_rank_zero(mine))


def _report(state: State, stage: Stage, step: int, loss: float, tell: Callable[[State], None]) -> None:
    score = state["best"]["score"] if state["best"] else 0.0
    metrics = {"stage": stage.name, "step": step, "steps": stage.steps, "loss": loss, "best_score": score}
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as directory:
        torch.save(state, Path(directory) / CHECKPOINT)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(directory))
    tell(metrics)


def _last_state() -> State | None:
    checkpoint = ray.train.get_checkpoint()
    return load_state(checkpoint) if checkpoint else None
