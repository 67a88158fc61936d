"""The two-tower step of a run: fitted to the inner past, then refreshed on everything known.

B users, N items, V users of the validation, E events, G categories, P profile, D dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch

from tastemaker.errors import InvalidInput
from tastemaker_training.checkpoints import Storage
from tastemaker_training.cluster import Run
from tastemaker_training.curves import Curve
from tastemaker_training.data import Data
from tastemaker_training.evaluation.metrics import Judgements, judgements
from tastemaker_training.interactions import Floats, Interactions, Ints, Split
from tastemaker_training.job import Job
from tastemaker_training.recipes import Recipe, TwoTowerRecipe
from tastemaker_training.sufficiency import lack, learnable
from tastemaker_training.towers import loop, worker
from tastemaker_training.towers.inputs import item_inputs
from tastemaker_training.towers.loop import Stage, State, Task, Validation
from tastemaker_training.towers.sampler import latest_histories
from tastemaker_training.towers.two_tower import TwoTower

WIDTH_STEP = 64
EVENTS_ROOT = 3.3
"""A vector has about sqrt(events) / 3.3 places: 64 on the MovieLens sample, 256 with 0.8 million events."""
NEXT_EVENT_DECAY, NEXT_EVENT_PASSES = 0.03, 3.0
"""Factors of the weight decay and of the passes where the next event is asked for: there the graph is no head start."""
SET_PASSES, SET_RATE = 0.5, 1 / 3
"""Factors of the passes and of the learning rates where there is no order: the graph is nearly all that is known."""
VALIDATED = 5_000
"""Users that early stopping looks at: the error of their mean is below the differences that matter."""


@dataclass(frozen=True)
class Towers:
    """A fitted two-tower model and its item vectors, centred so that cosines between items mean something."""

    model: TwoTower
    vectors: Floats  # (N, D)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """By stage; of the fit that ended with this model."""

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Logits of liking next (B, N), for users without a profile: Source.scores."""
        profiles = _nobody(len(users), self.model.users.profile.in_features)
        with torch.inference_mode():
            vectors = self.model.user_vectors(latest_histories(known, users, profiles, self.model.recipe))
        return vectors.numpy() @ self.vectors.T


def fit(
    interactions: Interactions,
    items: pa.Table,
    holdout: Callable[[Interactions, int], Split],
    recipe: Recipe,
) -> Towers:
    """The two-tower model fitted to `interactions` in this process: until validation says stop, then to all of them.

    Args:
        items: the catalogue in code order.
        holdout: cuts the interactions as the model will be asked, by a seed.
    """
    inner = _of_some(holdout(interactions, recipe.seed), interactions, recipe.seed)
    return fit_both(interactions, items, inner, recipe)[1]


def fit_both(interactions: Interactions, items: pa.Table, inner: Split, recipe: Recipe) -> tuple[Towers, Towers]:
    """The two-tower model as fitted to the past of `inner`, and as refreshed on all `interactions`, in this process."""
    nothing = np.zeros((items.num_rows, 0), dtype=np.float32)
    task = _task(items, nothing, _nobody(len(interactions.items) + 1, 1), interactions, inner, recipe)
    state = loop.fit(task)
    return _towers(state["fitted"], task, task.stages[0]), _towers(state["model"], task, task.stages[-1])


def fit_towers(job: Job, data: Data, storage: Storage) -> tuple[Towers, Towers]:
    """The two-tower model as fitted to the inner past, which the ranker learns from, and as refreshed on everything."""
    task = tower_task(data, job.recipe)
    with job.narrator.step("Two-tower model (Ray Train)") as tell:

        def hear(metrics: State) -> None:
            tell(f"{metrics['stage']}: loss {metrics['loss']:.2f}", metrics["step"], metrics["steps"])

        run = Run("two-tower", storage, job.hardware, job.settings.training, job.threads)
        state = worker.fit(task, run, hear, job.narrator.say)
        tell(f"best at step {state['best']['step']}, recall+NDCG {state['best']['score']:.3f} on the validation slice")
    refreshed = _towers(state["model"], task, task.stages[1])
    curves = {name: Curve(**curve) for name, curve in state["curves"].items()}
    return _towers(state["fitted"], task, task.stages[0]), replace(refreshed, curves=curves)


def tower_task(data: Data, recipe: Recipe) -> Task:
    """What the workers are asked to do: fit the inner past, validate, refresh on everything known."""
    return _task(data.items, data.categories, data.profiles, data.known, data.inner, recipe)


def _task(
    items: pa.Table, categories: Floats, profiles: Floats, known: Interactions, inner: Split, recipe: Recipe
) -> Task:
    """The task for a catalogue with `categories` (N, G) and profiles (E + 1, P) of the events of `known`.

    Raises:
        InvalidInput: there is too little to learn from.
    """
    missing = lack(inner, recipe.liked)
    if missing:
        raise InvalidInput(
            f"the two-tower model has too little to learn from: {missing}",
            "Give longer histories, or use a model that does without: popularity, als, graph-filter",
        )
    settings, past = suited(recipe.two_tower, known, inner), inner.past
    steps = _steps(past, recipe.liked, settings)
    refresh_steps = max(1, round(steps * settings.refresh_share))
    of_past = profiles[np.append(inner.is_past, True)]

    def stage(name: str, data: Interactions, profiles: Floats, steps: int, rate: float) -> Stage:
        inputs = item_inputs(items, categories, data, recipe.liked, settings)
        return Stage(name, data, profiles, inputs, steps, rate, max(1, steps // settings.validations))

    stages = (
        stage("fit", past, of_past, steps, settings.learning_rate),
        stage("refresh", known, profiles, refresh_steps, settings.refresh_learning_rate),
    )
    validation = _validation(inner, profiles, recipe, settings)
    return Task(settings, stages, validation, recipe.liked, recipe.seed)


def suited(recipe: TwoTowerRecipe, known: Interactions, inner: Split) -> TwoTowerRecipe:
    """The recipe as the data allow and the holdout of the validation asks.

    Without an order of events there is no next one and no sequence to encode (_of_sets). Where there is an order the
    model looks as far ahead as the holdout does. Where that is the very next event it completes no sets, hears the
    sequence from the start, and goes farther and longer away from the graph, which knows what belongs together and not
    what follows.
    """
    events = len(inner.past.items)
    width = WIDTH_STEP * math.floor(math.sqrt(events) / EVENTS_ROOT / WIDTH_STEP)
    recipe = replace(recipe, dim=min(recipe.dim, max(WIDTH_STEP, width)))
    if not known.ordered:
        return _of_sets(recipe)
    window = max(1, min(recipe.window, int(np.diff(inner.future.offsets).max())))
    if window == 1:
        freer = recipe.weight_decay * NEXT_EVENT_DECAY
        recipe = replace(recipe, weight_decay=freer, passes=recipe.passes * NEXT_EVENT_PASSES)
        return replace(recipe, window=1, future_share=1.0, sequence_start=1.0)
    return replace(recipe, window=window)


def _of_sets(recipe: TwoTowerRecipe) -> TwoTowerRecipe:
    """The recipe for histories in no order: the graph is nearly all that can be known of them.

    A user is asked about once, not at several moments, so that more users share a step. Vectors are twice as wide and
    begin as a graph filter by themselves; the fit moves them little, in steps that are averaged.
    """
    return replace(
        recipe,
        dim=2 * recipe.dim,
        start_length=1.0,
        start_damping=10.0,
        start_tilt=0.35,
        branch_start=0.0,
        user_length=3.5,
        recency=0.0,
        blocks=0,
        moments=1,
        batch=recipe.batch * recipe.moments,
        passes=recipe.passes * SET_PASSES,
        future_share=0.0,
        learning_rate=recipe.learning_rate * SET_RATE,
        refresh_learning_rate=recipe.refresh_learning_rate * SET_RATE,
        weight_decay=recipe.weight_decay / SET_RATE,
        average=0.97,
    )


def _steps(past: Interactions, liked: float, recipe: TwoTowerRecipe) -> int:
    """Steps in which each like ends a moment, or is left out, `recipe.passes` times."""
    likes = past.preferences >= liked
    counts = np.bincount(past.users[likes], minlength=len(past.user_ids))
    asked = np.minimum(counts[learnable(past, liked)], recipe.moments if past.ordered else recipe.targets)
    each = float(asked.mean())  # of a user in a step
    return min(recipe.steps, math.ceil(recipe.passes * int(counts.sum()) / (recipe.batch * each)))


def _validation(inner: Split, profiles: Floats, recipe: Recipe, settings: TwoTowerRecipe) -> Validation:
    """Histories of at most VALIDATED users and what they liked next."""
    truth = judgements(inner, recipe.liked)
    if len(truth.users) > VALIDATED:
        some = np.sort(np.random.default_rng(recipe.seed).choice(len(truth.users), VALIDATED, replace=False))
        truth = Judgements(truth.users[some], [truth.relevant[place] for place in some])
    # The profile just before the first event of the validation slice.
    cuts = np.flatnonzero(~inner.is_past)[inner.future.offsets[truth.users]]
    trails = [inner.past.items[inner.past.of(user)] for user in truth.users]
    seen = np.full((len(trails), max(map(len, trails), default=0)), -1, dtype=np.int32)
    for row, items in enumerate(trails):
        seen[row, : len(items)] = items
    return Validation(latest_histories(inner.past, truth.users, profiles[cuts], settings), seen, truth)


def _of_some(split: Split, whole: Interactions, seed: int) -> Split:
    """The same split of VALIDATED users at most; all events of the others are learnt from."""
    users = np.flatnonzero(np.diff(split.future.offsets))
    if len(users) <= VALIDATED:
        return split
    chosen = np.random.default_rng(seed).choice(users, VALIDATED, replace=False)
    is_past = split.is_past | ~np.isin(whole.users, chosen)
    return Split(whole.where(is_past), whole.where(~is_past), is_past)


def _nobody(rows: int, width: int) -> Floats:
    """Profiles (rows, P) of users without features: only the flag that they are missing is set."""
    profiles = np.zeros((rows, width), dtype=np.float32)
    profiles[:, 0] = 1.0
    return profiles


def _towers(state: State, task: Task, stage: Stage) -> Towers:
    model = TwoTower(stage.items, stage.profiles.shape[1], task.recipe)
    model.load_state_dict(state)
    model.eval()
    with torch.inference_mode():
        vectors: Floats = model.item_vectors().numpy()
    # Raw item vectors share one direction (their median cosine is 0.97); taking it away changes no user's ranking.
    weights = np.bincount(stage.interactions.items, minlength=len(vectors)).astype(np.float32)
    return Towers(model, vectors - weights @ vectors / weights.sum())
