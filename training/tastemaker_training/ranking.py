"""The ranking step of a run: the item-to-item table, and a ranker fitted to what retrieval proposes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tastemaker.candidates import popular_table
from tastemaker_training import cluster, neighbours
from tastemaker_training.data import Data
from tastemaker_training.dataset import item_metadata
from tastemaker_training.interactions import Interactions
from tastemaker_training.job import Job
from tastemaker_training.loop import State, load_state
from tastemaker_training.neighbours import Neighbours
from tastemaker_training.popularity import popularity
from tastemaker_training.ranker import Ranker, item_features
from tastemaker_training.ranker_examples import Retrieval, examples
from tastemaker_training.ranker_loop import RankerTask, fresh, train_ranker_worker
from tastemaker_training.recipes import Recipe
from tastemaker_training.towers import Towers
from tastemaker_training.two_tower import ServedUserTower


@dataclass(frozen=True)
class Ranking:
    """A fitted ranker and what it needs, as of everything known."""

    ranker: Ranker
    items: Tensor  # (N, I)
    neighbours: Neighbours


def fit_ranking(job: Job, data: Data, fitted: Towers, refreshed: Towers, storage: Path) -> Ranking:
    """Fit the ranker to the validation slice, which neither `fitted` nor its item-to-item table has seen.

    The table is then built again on everything known, as the towers were `refreshed`.
    """
    recipe, funnel = job.recipe, job.settings.serving.funnel
    with job.narrator.step("Item-to-item tables") as tell:
        past = neighbours.build(data.inner.past, recipe.neighbours)
        known = neighbours.build(data.known, recipe.neighbours)
        tell(f"{known.codes.shape[1]} neighbours of {len(known.codes):,} items")
    with job.narrator.step("Ranker (Ray Train)") as tell:
        tell("proposing candidates")
        popular = popular_table(most_liked(data, data.inner.past, recipe), data.vocabulary, funnel.candidates)
        retrieval = Retrieval(ServedUserTower(fitted.model), fitted.vectors, past, popular, funnel.candidates)
        lists = examples(data.known, data.inner, data.profiles, retrieval, recipe)
        task = RankerTask(
            recipe.ranker, lists, _items(data, fitted, data.inner.past, recipe), recipe.seed, torch.get_num_threads()
        )

        def hear(metrics: State) -> None:
            tell(f"loss {metrics['loss']:.2f}", metrics["step"], metrics["steps"])

        checkpoint = cluster.fit(
            train_ranker_worker, task, name="ranker", storage=storage, hardware=job.hardware, hear=hear
        )
        ranker = fresh(lists, task.items, recipe.ranker)
        ranker.load_state_dict(load_state(checkpoint)["ranker"])
        tell(f"{len(lists):,} lists of {lists.codes.shape[1]} candidates")
    return Ranking(ranker.eval(), _items(data, refreshed, data.known, recipe), known)


def most_liked(data: Data, interactions: Interactions, recipe: Recipe) -> dict[str, object]:
    """The popularity document of `interactions`, each user's oldest events; segments are as of the last of them."""
    last = data.known.offsets[:-1] + np.diff(interactions.offsets) - 1
    return popularity(interactions, data.categories, data.profiles[last], data.vocabulary, recipe.liked)


def _items(data: Data, towers: Towers, interactions: Interactions, recipe: Recipe) -> Tensor:
    metadata = torch.from_numpy(item_metadata(data.items, interactions, recipe.liked))
    return item_features(towers.vectors, metadata, towers.model.items.categories)
