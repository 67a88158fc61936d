"""The two-tower step of a run: fitted to the inner past, then refreshed on everything known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tastemaker_training import cluster
from tastemaker_training.data import Data
from tastemaker_training.dataset import item_inputs, latest_histories
from tastemaker_training.evaluate import judgements
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.job import Job
from tastemaker_training.loop import Stage, State, Task, Validation, load_state, train_worker
from tastemaker_training.recipes import Recipe
from tastemaker_training.two_tower import TwoTower


@dataclass(frozen=True)
class Towers:
    """A fitted two-tower model and its item vectors, centred so that cosines between items mean something."""

    model: TwoTower
    vectors: Floats  # (N, D)


def fit_towers(job: Job, data: Data, storage: Path) -> tuple[Towers, Towers]:
    """The two-tower model as fitted to the inner past, which the ranker learns from, and as refreshed on everything."""
    recipe = job.recipe
    task = tower_task(data, recipe)
    with job.narrator.step("Two-tower model (Ray Train)") as tell:

        def hear(metrics: State) -> None:
            tell(f"{metrics['stage']}: loss {metrics['loss']:.2f}", metrics["step"], metrics["steps"])

        checkpoint = cluster.fit(
            train_worker, task, name="two-tower", storage=storage, hardware=job.hardware, hear=hear
        )
        state = load_state(checkpoint)
        tell(f"best at step {state['best']['step']}, recall+NDCG {state['best']['score']:.3f} on the validation slice")
    first, last = task.stages
    return (
        _towers(state["fitted"], first, data.inner.past, recipe),
        _towers(state["model"], last, data.known, recipe),
    )


def tower_task(data: Data, recipe: Recipe) -> Task:
    """What the workers are asked to do: fit the inner past, validate, refresh on everything known."""
    inner, settings = data.inner, recipe.two_tower
    fit = Stage(
        "fit",
        inner.past,
        data.profiles[np.append(inner.is_past, True)],
        item_inputs(data.items, data.categories, inner.past, recipe.liked, settings),
        settings.steps,
        settings.learning_rate,
    )
    refresh = Stage(
        "refresh",
        data.known,
        data.profiles,
        item_inputs(data.items, data.categories, data.known, recipe.liked, settings),
        settings.refresh_steps,
        settings.refresh_learning_rate,
    )
    truth = judgements(inner, recipe.liked)
    # The profile just before the first event of the validation slice.
    cuts = np.flatnonzero(~inner.is_past)[inner.future.offsets[truth.users]]
    trails = [inner.past.items[inner.past.of(user)] for user in truth.users]
    seen = np.full((len(trails), max(map(len, trails), default=0)), -1, dtype=np.int32)
    for row, items in enumerate(trails):
        seen[row, : len(items)] = items
    validation = Validation(latest_histories(inner.past, truth.users, data.profiles[cuts], settings), seen, truth)
    return Task(settings, (fit, refresh), validation, recipe.liked, recipe.seed, torch.get_num_threads())


def _towers(state: State, stage: Stage, interactions: Interactions, recipe: Recipe) -> Towers:
    model = TwoTower(stage.items, stage.profiles.shape[1], recipe.two_tower)
    model.load_state_dict(state)
    model.eval()
    with torch.inference_mode():
        vectors: Floats = model.items(torch.arange(len(interactions.item_ids))).numpy()
    # Raw item vectors share one direction (their median cosine is 0.97); taking it away changes no user's ranking.
    weights = np.bincount(interactions.items, minlength=len(vectors)).astype(np.float32)
    return Towers(model, vectors - weights @ vectors / weights.sum())
