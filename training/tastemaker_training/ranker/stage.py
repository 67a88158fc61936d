"""The ranking step of a run: the other sources of candidates, and a ranker fitted to what retrieval proposes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch
from torch import Tensor

from tastemaker import scenes
from tastemaker.candidates import shares_of
from tastemaker.heads import HEADS
from tastemaker.popular import PopularTable
from tastemaker.retrieval import Retrieval
from tastemaker.space import Space
from tastemaker_training import checkpoints, cluster
from tastemaker_training.checkpoints import Storage
from tastemaker_training.curves import Curve
from tastemaker_training.data import Data
from tastemaker_training.dataset import item_metadata
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.job import Job
from tastemaker_training.ranker.calibration import calibrate
from tastemaker_training.ranker.examples import Proposer, examples
from tastemaker_training.ranker.lists import Lists
from tastemaker_training.ranker.loop import RankerTask, fresh, train_ranker_worker
from tastemaker_training.ranker.model import Ranker, item_features, starting_weights
from tastemaker_training.recipes import Recipe
from tastemaker_training.sources import als, content, neighbours
from tastemaker_training.sources.als import ALS
from tastemaker_training.sources.content import Content
from tastemaker_training.sources.neighbours import Neighbours
from tastemaker_training.sources.popularity import popularity
from tastemaker_training.towers.loop import State
from tastemaker_training.towers.stage import Towers
from tastemaker_training.towers.two_tower import ServedUserTower


@dataclass(frozen=True)
class Sources:
    """What proposes candidates beside the two-tower model, fitted to the same events."""

    neighbours: Neighbours
    als: ALS
    content: Content

    def retrieval(self, item_vectors: Floats, popular: PopularTable) -> Retrieval:
        """All of retrieval, with the two-tower model's `item_vectors` (N, D) and the table of the popular."""
        factors = self.als.items
        return Retrieval(
            two_tower=Space.of(item_vectors),
            factors=factors,
            als=Space.of(factors.vectors),
            content=Space.of(self.content.vectors),
            neighbours=self.neighbours.codes,
            neighbour_weights=self.neighbours.weights,
            popular=popular,
        )


@dataclass(frozen=True)
class Ranking:
    """A fitted ranker and what it needs, as of everything known."""

    ranker: Ranker
    items: Tensor  # (N, I)
    sources: Sources
    calibration: dict[str, Any]
    """Of the ranker's probabilities, for the report."""
    curve: Curve
    """Loss by epoch."""


def fit_ranking(job: Job, data: Data, fitted: Towers, refreshed: Towers, storage: Storage) -> Ranking:
    """Fit the ranker to the validation slice, which neither `fitted` nor the other sources beside it have seen.

    Those are then fitted again to everything known, as the towers were `refreshed`.
    """
    recipe, funnel = job.recipe, job.settings.serving.funnel
    with job.narrator.step("Item-to-item, ALS, content") as tell:
        past, known = sources(data, data.inner.past, recipe), sources(data, data.known, recipe)
        tell(
            f"{known.neighbours.codes.shape[1]} neighbours, {known.als.items.vectors.shape[1]} factors and "
            f"{known.content.vectors.shape[1]} dimensions of content of {data.items.num_rows:,} items"
        )
    with job.narrator.step("Ranker (Ray Train)") as tell:
        tell("proposing candidates")
        popular = PopularTable.of(most_liked(data, data.inner.past, recipe), data.vocabulary, funnel.candidates)
        model, tower = past.retrieval(fitted.vectors, popular), ServedUserTower(fitted.model)
        shares = shares_of(scenes.load(job.settings)[scenes.HOME].sources)
        proposer = Proposer(tower, model, len(data.vocabulary), shares, funnel.candidates)
        lists = examples(data.known, data.inner, data.profiles, proposer, recipe)
        items = _items(data, fitted, data.inner.past, recipe)
        task = RankerTask(recipe.ranker, lists, items, recipe.seed, starting_weights())

        def hear(metrics: State) -> None:
            tell(f"loss {metrics['loss']:.2f}", metrics["step"], metrics["steps"])

        run = cluster.Run("ranker", storage, job.hardware, job.settings.training, job.threads)
        checkpoint = cluster.fit(
            train_ranker_worker, {"task": ray.put(replace(task, lists=lists.worth()))}, run, hear, job.narrator.say
        )
        ranker = fresh(task)
        state = checkpoints.load(checkpoint)
        ranker.load_state_dict(state["ranker"])
        tell("its probabilities")
        calibration = calibrate(task)
        ranker.take(*zip(*((curve.slope, curve.shift) for curve in calibration.curves), strict=True))
        tell(f"{len(lists):,} lists of {lists.codes.shape[1]} candidates; {_heads(lists)}")
    return Ranking(
        ranker.eval(), _items(data, refreshed, data.known, recipe), known, calibration.report, Curve(state["losses"])
    )


def sources(data: Data, interactions: Interactions, recipe: Recipe) -> Sources:
    """Everything but the two-tower model, fitted to `interactions`."""
    return Sources(
        neighbours.build(interactions, recipe.neighbours),
        als.fit(interactions, recipe.als, recipe.liked, recipe.seed),
        content.fit(data.items, recipe.content, recipe.seed),
    )


def most_liked(data: Data, interactions: Interactions, recipe: Recipe) -> dict[str, object]:
    """The popularity document of `interactions`, each user's oldest events; segments are as of the last of them."""
    last = data.known.offsets[:-1] + np.diff(interactions.offsets) - 1
    profiles = data.profiles[last]
    return popularity(interactions, data.categories, profiles, data.countries, data.vocabulary, recipe.liked)


def _heads(lists: Lists) -> str:
    missing = [name for name in HEADS if name not in lists.heads]
    return f"heads: {', '.join(lists.heads)}" + (
        f"; without events of its own: {', '.join(missing)}" if missing else ""
    )


def _items(data: Data, towers: Towers, interactions: Interactions, recipe: Recipe) -> Tensor:
    metadata = torch.from_numpy(item_metadata(data.items, interactions, recipe.liked))
    return item_features(towers.vectors, metadata, towers.model.items.categories)
