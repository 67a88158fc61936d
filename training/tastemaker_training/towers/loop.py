"""How the two-tower model is fitted, step by step: here, or on each Ray Train worker.

Stages follow one another (fitted to the past, then refreshed on everything). Each worker has its share of every batch;
gradients are averaged over workers. What a validation reaches is a state that a restart goes on from.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tastemaker_training.allocator import keep_memory
from tastemaker_training.evaluation.metrics import Judgements, ndcg_per_user, recall_per_user
from tastemaker_training.evaluation.slates import best_unseen, passes
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.towers.item_tower import ItemInputs
from tastemaker_training.towers.sampler import Sampler
from tastemaker_training.towers.two_tower import Batch, Histories, Part, TwoTower

WARM_UP_STEPS = 50
PLACES = 20  # of the slates that are validated
LAST_RATE = 0.1  # the learning rate ends at this share of its peak

Tensors = tuple[Tensor, ...] | list[Tensor]
State = dict[str, Any]
"""What a checkpoint holds, tensors and numbers only: `stage` and `step` to go on from; `model`, its running `average`
and `optimizer`; `best`, the best validation so far of the average, and `worse`, how many followed it; `fitted`, the
first stage's best weights; `curves`, by stage the `loss` of every step and the `score` of every validation as (step,
score)."""


@dataclass(frozen=True)
class Stage:
    """One fit: what it draws from, and for how long."""

    name: str
    interactions: Interactions
    profiles: Floats  # (E + 1, P)
    items: ItemInputs
    steps: int
    learning_rate: float
    validate_every: int  # steps


@dataclass(frozen=True)
class Validation:
    """What early stopping looks at: V users' histories, what they had seen, and what they liked next."""

    histories: Histories
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


class Draws(Protocol):
    """Where a worker's examples come from."""

    def draw(self, size: int) -> Batch:
        """A batch of `size` users."""
        ...


@dataclass(frozen=True)
class World:
    """The workers that fit one model together, as one of them sees them."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model  # gradients of what it returns are averaged
    agree: Callable[[Callable[[], float]], float] = lambda compute: compute()  # what rank 0 computes, known to all

    def share(self, batch: Batch) -> Batch:
        """This worker's users of a batch, who are told from the items of the whole batch.

        Each worker draws a whole one and keeps its users: were the others' targets missing from the pool, the sampled
        softmax would be another, and the loss would depend on the number of workers.
        """
        if self.size == 1:
            return batch
        mine, before = list[Part](), 0
        for part in batch.parts:
            users = slice((self.rank - before) % self.size, None, self.size)
            if len(part.targets[users]):
                mine.append(_rows(part, users))
            before += len(part.targets)
        return Batch(tuple(mine), batch.pool, batch.log_q)


ALONE = World()


@dataclass(frozen=True)
class Step:
    """One step of gradient descent, done."""

    stage: str
    done: int
    steps: int
    loss: Tensor  # reading its value waits for the device
    reached: State | None  # after a validation


def _rows(part: Part, users: slice) -> Part:
    """Some users of a part."""
    histories = {field.name: getattr(part.histories, field.name)[users].contiguous() for field in fields(Histories)}
    return Part(Histories(**histories), part.targets[users].contiguous(), part.is_target[users].contiguous())


def fit(task: Task, hear: Callable[[Step], None] = lambda step: None) -> State:
    """The last state of a fit in this process."""
    model, state = fresh(task), None
    for step in steps(model, task, sampler):
        hear(step)
        state = step.reached or state
    assert state is not None, "a stage's last step reaches a state"
    return state


def fresh(task: Task) -> TwoTower:
    """An untrained model, the same for every worker."""
    torch.manual_seed(task.seed)
    first = task.stages[0]
    return TwoTower(first.items, first.profiles.shape[1], task.recipe)


def sampler(task: Task, stage: Stage, random: np.random.Generator) -> Draws:
    """Examples drawn from all of a stage's interactions."""
    return Sampler(stage.interactions, stage.profiles, task.liked, task.recipe, random)


def steps(
    model: TwoTower,
    task: Task,
    draws: Callable[[Task, Stage, np.random.Generator], Draws],
    state: State | None = None,
    world: World = ALONE,
) -> Iterator[Step]:
    """Run the stages of `task` from `state` on; every worker of `world` runs this in lockstep.

    Args:
        draws: makes a stage's source of examples for this worker.
    """
    keep_memory()
    state = state or {"stage": 0, "step": 0, "worse": 0, "curves": {}}
    for number in range(state["stage"], len(task.stages)):
        if state.get("model"):
            model.load_state_dict(state["model"])
        stage = task.stages[number]
        model.items.see(stage.items)
        seeds = np.random.SeedSequence([task.seed, number, world.rank, state["step"]])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        source = draws(task, stage, np.random.default_rng(seeds))
        for step in _descend(world.wrap(model), model, task, source, state, world):
            yield step
            state = step.reached or state


def _descend(
    wrapped: nn.Module, model: TwoTower, task: Task, source: Draws, state: State, world: World
) -> Iterator[Step]:
    """The steps of one stage to its end or to its early stop."""
    recipe, number = task.recipe, state["stage"]
    stage = task.stages[number]
    device = next(model.parameters()).device
    optimizer = optimizer_of(model, stage, recipe, state)
    average = average_of(model, recipe, state)
    losses: list[Tensor] = []
    for step in range(state["step"], stage.steps):
        wrapped.train()
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * learning_rate(step, stage.steps)
        batch = world.share(source.draw(recipe.batch)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = wrapped(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update_parameters(model)
        losses.append(loss.detach())
        last = step + 1 == stage.steps
        reached = None
        if last or (step + 1) % stage.validate_every == 0:
            reached = state = _judged(state, step + 1, losses, average, task, world)
            reached |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            losses.clear()
            last = last or state["worse"] >= recipe.patience
            if last:
                reached = _closed(state, average)
        yield Step(stage.name, step + 1, stage.steps, loss.detach(), reached)
        if last:
            return


def optimizer_of(
    model: TwoTower, stage: Stage, recipe: TwoTowerRecipe, state: State | None = None
) -> torch.optim.Optimizer:
    """AdamW over all weights (Loshchilov & Hutter 2019), with the moments of `state` where it has some.

    Items' ids hold corrections of where the graph puts them, so that they decay towards it: what the graph says is kept
    unless there is evidence against it (L2-SP, Li et al. 2018).
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=stage.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    if state and state.get("optimizer"):
        optimizer.load_state_dict(state["optimizer"])
    return optimizer


class Average(AveragedModel):
    """A running average of the weights."""

    module: TwoTower


def average_of(model: TwoTower, recipe: TwoTowerRecipe, state: State) -> Average:
    """The running average of what is learnt, that of `state` where it has one: it is what is validated and kept.

    The weights of any one step are scattered about it by what the last batches held (Polyak & Juditsky 1992).
    """

    def towards(averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        torch._foreach_lerp_(averages, weights, 1 - recipe.average)

    average = Average(model, multi_avg_fn=towards)
    if state.get("average"):
        average.load_state_dict(state["average"])
    return average


def learning_rate(step: int, steps: int) -> float:
    """Share of the peak rate at `step`: a linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
    decay = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * decay


def _judged(state: State, done: int, losses: list[Tensor], average: Average, task: Task, world: World) -> State:
    """The state after `done` steps: the curves go on, and the first stage's average is validated."""
    name = task.stages[state["stage"]].name
    curve = state["curves"].get(name, {"loss": [], "score": []})
    curve = {**curve, "loss": curve["loss"] + torch.stack(losses).tolist()}
    state = {**state, "step": done, "average": average.state_dict()}
    if state["stage"] == 0:
        score = world.agree(lambda: validate(average.module, task.validation))
        curve["score"] = [*curve["score"], (done, score)]
        if state.get("best") is None or score > state["best"]["score"]:
            state["worse"] = 0
            state["best"] = {"score": score, "step": done, "model": copy.deepcopy(average.module.state_dict())}
        else:
            state["worse"] += 1
    return {**state, "curves": {**state["curves"], name: curve}}


def _closed(state: State, average: Average) -> State:
    """The state after a stage: of the averages the first keeps its best, for the ranker, too, and others their last."""
    closed = {**state, "stage": state["stage"] + 1, "step": 0, "worse": 0, "optimizer": None, "average": None}
    closed["model"] = average.module.state_dict()
    if state["stage"] == 0:
        closed["model"] = closed["fitted"] = state["best"]["model"]
    return closed


def validate(model: TwoTower, validation: Validation) -> float:
    """Mean over users of recall@20 + NDCG@20 on what they liked next."""
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        users, items = model.user_vectors(validation.histories.to(device)), model.item_vectors()
        slates = np.empty((len(users), PLACES), dtype=np.int32)
        for part in passes(len(users), len(items)):
            seen = validation.seen[part]
            rows, places = np.nonzero(seen >= 0)
            slates[part] = best_unseen(users[part] @ items.T, rows, seen[rows, places], PLACES)
    truth = validation.truth
    return float((recall_per_user(slates, truth) + ndcg_per_user(slates, truth)).mean())
