"""The evaluation report of a bundle: what it serves beside the baselines that it has to beat, on the same holdout."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tastemaker.bundle import Bundle
from tastemaker.config import Funnel, Settings
from tastemaker.errors import NotFound
from tastemaker.features.store import Features
from tastemaker.features.tower_inputs import KeyIndex, tower_inputs
from tastemaker.features.trail import Trail
from tastemaker.lake import Lake
from tastemaker_training import als
from tastemaker_training.dataset import category_matrix, profiles_at
from tastemaker_training.evaluate import Judgements, Slates, judgements, measure, most_popular
from tastemaker_training.interactions import Floats, Split, from_lake, split_by_time
from tastemaker_training.recipes import Recipe

Pipeline = Callable[[Bundle, Funnel, Sequence[str], Sequence[Trail], Floats, int, int], Slates]
"""`recommend_offline` of the entry point `tastemaker.pipelines: served`."""


def evaluate(bundle: Bundle, settings: Settings, recipe: Recipe) -> dict[str, Any]:
    """Report on a bundle: its data up to the end of its window, split as it was when the bundle was trained."""
    lake = Lake(settings.lake)
    end: datetime = bundle.manifest.data_window[1]
    split = split_by_time(from_lake(lake.events(until=end), bundle.table("items"), settings), recipe.holdout)
    truth = judgements(split, recipe.liked)
    if len(truth.users) == 0:
        raise NotFound(
            f"none of {len(split.past.user_ids)} users liked an item among their newest {recipe.holdout:.0%} of events",
            "Import more events, or lower `liked` or raise `holdout` in the recipe",
        )
    profiles = cut_profiles(Features(settings), split, truth.users, len(bundle.json("vocabulary")))
    categories = category_matrix(bundle.table("items"), bundle.json("vocabulary"))
    slates = {
        "popularity": most_popular(split.past, truth.users, recipe.slate, recipe.liked),
        "als": als.recommend(split.past, recipe.als, recipe.slate, recipe.liked, recipe.seed)[truth.users],
        "two-tower": _two_tower(bundle, settings.serving.funnel, split, truth, profiles, recipe.slate),
        "served": _served(bundle, settings.serving.funnel, split, truth, profiles, recipe.slate),
    }
    return {
        "split": {
            "holdout": f"newest {recipe.holdout:.0%} of each user's events",
            "relevant": f"preference >= {recipe.liked:g}",
            "users": len(truth.users),
            "items": len(split.past.item_ids),
            "events": {"train": len(split.past.items), "test": len(split.future.items)},
        },
        "models": {name: measure(found, truth, categories, recipe.seed) for name, found in slates.items()},
    }


def refusals(report: dict[str, Any], n: int) -> list[str]:
    """Why a bundle with this report must not be served: each metric on which it does not beat popularity."""
    served, popularity = report["models"]["served"], report["models"]["popularity"]
    return [
        f"{metric} of what would be served is {served[metric]:.4f}, popularity reaches {popularity[metric]:.4f}"
        for metric in (f"recall@{n}", f"ndcg@{n}")
        if served[metric] <= popularity[metric]
    ]


def cut_profiles(features: Features, split: Split, users: npt.NDArray[np.int64], categories: int) -> Floats:
    """Profiles (V, P) of `users` at the moment of their first held-out event."""
    moments = split.future.timestamps[split.future.offsets[users]]
    return profiles_at(features, [split.past.user_ids[user] for user in users], moments, categories)


def _two_tower(bundle: Bundle, funnel: Funnel, split: Split, truth: Judgements, profiles: Floats, n: int) -> Slates:
    """The items nearest to each user's vector, unseen, shape (V, n)."""
    trails, user_ids = split.past.trails(), split.past.user_ids
    inputs = tower_inputs(
        [user_ids[user] for user in truth.users],
        [trails[user] for user in truth.users],
        KeyIndex.of(split.past.item_ids),
        length=funnel.history,
        buckets=int(bundle.json("recipe")["user_buckets"]),
        now=int(bundle.manifest.data_window[1].timestamp()),
    )
    tower = torch.export.load(bundle.file("user_tower")).module()
    arrays = (inputs.history, inputs.preference, inputs.age, inputs.user, profiles)
    with torch.inference_mode():
        vectors: Floats = tower(*(torch.from_numpy(array) for array in arrays)).numpy()
    scores = vectors @ np.asarray(bundle.array("item_vectors")).T
    for row, user in enumerate(truth.users):
        scores[row, split.past.items[split.past.of(user)]] = -np.inf
    return np.argsort(-scores, axis=1)[:, :n].astype(np.int32)


def _served(bundle: Bundle, funnel: Funnel, split: Split, truth: Judgements, profiles: Floats, n: int) -> Slates:
    (entry,) = importlib.metadata.entry_points(group="tastemaker.pipelines", name="served")
    recommend: Pipeline = entry.load()
    trails, user_ids = split.past.trails(), split.past.user_ids
    now = int(bundle.manifest.data_window[1].timestamp())
    return recommend(
        bundle,
        funnel,
        [user_ids[user] for user in truth.users],
        [trails[user] for user in truth.users],
        profiles,
        now,
        n,
    )
