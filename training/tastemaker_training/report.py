"""The evaluation report of a bundle: what it serves beside the baselines that it has to beat, on the same holdout."""

from __future__ import annotations

import hashlib
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
from tastemaker.replay import Replay, foremost
from tastemaker_training import user_sample
from tastemaker_training.dataset import category_matrix, profiles_at
from tastemaker_training.evaluation.metrics import Judgements, coverage, judgements, most_popular
from tastemaker_training.evaluation.slates import Slates, best_unseen, passes
from tastemaker_training.evaluation.yardstick import Yardstick
from tastemaker_training.incumbent import Incumbent, translated
from tastemaker_training.interactions import Floats, Split, from_lake, split_by_time
from tastemaker_training.recipes import Recipe
from tastemaker_training.sources import als

Pipeline = Callable[[Bundle, Settings, Sequence[str], Sequence[Trail], Floats, int, int], Replay]
"""`replay` of the entry point `tastemaker.pipelines: served`."""


def evaluate(bundle: Bundle, settings: Settings, recipe: Recipe, champion: Incumbent | None = None) -> dict[str, Any]:
    """Report on a bundle: its data up to the end of its window, split as it was when the bundle was trained.

    Args:
        champion: another version, to be asked about the same holdout.

    Raises:
        NotFound: there is nothing to evaluate it on: it was imported, or its events are gone, or none is a like.
    """
    start, end = bundle.manifest.data_window
    if "imported" in bundle.json("report"):
        raise NotFound(
            f"the bundle was imported on {end:%Y-%m-%d} and has no data window: there is no event that it was made of",
            "Train on what has come since then: `tastemaker train` evaluates what it makes",
        )
    events = user_sample.events(settings, start, end)
    split = split_by_time(from_lake(events, bundle.table("items"), settings), recipe.holdout)
    truth = judgements(split, recipe.liked)
    if len(truth.users) == 0:
        raise NotFound(
            f"none of {len(split.past.user_ids)} users liked an item among their newest {recipe.holdout:.0%} of events",
            "Import more events, or train by a recipe of your own with a lower `liked` or a higher `holdout` "
            "(`tastemaker train --recipe FILE.yaml`)",
        )
    funnel = settings.serving.funnel
    served = _replayed(bundle, settings, split, truth, end, recipe.slate)
    popular = most_popular(split.past, truth.users, recipe.slate, recipe.liked)
    slates = {
        "popularity": popular,
        "als": als.recommend(split.past, recipe.als, recipe.slate, recipe.liked, recipe.seed)[truth.users],
        "two-tower": two_tower_slates(bundle, settings, split, truth, recipe.slate),
        "served": served.slates,
    }
    if champion is not None and champion.bundle is not None:
        theirs = _replayed(champion.bundle, settings, split, truth, end, recipe.slate)
        slates["champion"] = translated(theirs.slates, champion.bundle, bundle)
    categories = category_matrix(bundle.table("items"), bundle.json("vocabulary"))
    yardstick = Yardstick.of(split, truth, popular, categories, recipe.seed)
    report = {
        "split": _described(split, truth, recipe),
        "models": {name: yardstick.measure(found) for name, found in slates.items()},
        "pipeline": _pipeline(served, funnel),
    }
    if champion is not None:
        report["champion"] = {"version": champion.version, "problem": champion.problem}
    earlier: dict[str, Any] = bundle.json("report")
    if "calibration" in earlier:  # measured when the ranker was trained, on what was kept from it
        report["calibration"] = earlier["calibration"]
    return report


def _described(split: Split, truth: Judgements, recipe: Recipe) -> dict[str, Any]:
    past, digest = split.past, hashlib.sha256()
    for user, items in zip(truth.users, truth.relevant, strict=True):
        digest.update("\0".join([past.user_ids[user], *(past.item_ids[item] for item in items), ""]).encode())
    return {
        "holdout": f"newest {recipe.holdout:.0%} of each user's events",
        "relevant": f"preference >= {recipe.liked:g}",
        "digest": digest.hexdigest()[:16],
        "slate": recipe.slate,
        "users": len(truth.users),
        "items": len(past.item_ids),
        "events": {"train": len(past.items), "test": len(split.future.items)},
    }


def _pipeline(served: Replay, funnel: Funnel) -> dict[str, Any]:
    """How far each stage reaches into the catalogue for the users of the test together, and what a request costs."""
    items = len(served.proposed)
    p50, p99 = np.percentile(served.cpu_ms, [50, 99])
    return {
        "coverage": {
            "candidates": float(served.proposed.mean()),
            "ranked": float(served.ranked.mean()),
            "slates": coverage(served.slates, items),
        },
        "reach": float(served.reached.mean()),
        "candidates_per_item": len(served.slates) * min(funnel.candidates, foremost(items)) / items,
        "cpu_ms": {"p50": float(p50), "p99": float(p99), "requests": len(served.cpu_ms)},
    }


def cut_profiles(features: Features, split: Split, users: npt.NDArray[np.int64], categories: int) -> Floats:
    """Profiles (V, P) of `users` at the moment of their first held-out event."""
    moments = split.future.timestamps[split.future.offsets[users]]
    return profiles_at(features, split.past.user_ids, users, moments, categories)[:-1]


def two_tower_slates(bundle: Bundle, settings: Settings, split: Split, truth: Judgements, n: int) -> Slates:
    """The items nearest to each user's vector, unseen, shape (V, n)."""
    profiles = cut_profiles(Features(settings), split, truth.users, len(bundle.json("vocabulary")))
    trails, user_ids = split.past.trails(), split.past.user_ids
    index, buckets = KeyIndex.of(split.past.item_ids), int(bundle.json("recipe")["user_buckets"])
    tower, items = torch.export.load(bundle.file("user_tower")).module(), np.asarray(bundle.array("item_vectors"))
    slates = np.empty((len(truth.users), n), dtype=np.int32)
    for part in passes(len(truth.users), len(items)):
        users = truth.users[part]
        inputs = tower_inputs(
            [user_ids[user] for user in users],
            [trails[user] for user in users],
            index,
            length=settings.serving.funnel.history,
            buckets=buckets,
            now=int(bundle.manifest.data_window[1].timestamp()),
        )
        arrays = (inputs.history, inputs.preference, inputs.age, inputs.user, profiles[part])
        with torch.inference_mode():
            vectors: Floats = tower(*(torch.from_numpy(array) for array in arrays)).numpy()
        slates[part] = best_unseen(torch.from_numpy(vectors @ items.T), *split.past.had(users), n)
    return slates


def _replayed(bundle: Bundle, settings: Settings, split: Split, truth: Judgements, end: datetime, n: int) -> Replay:
    """What this bundle would have served at `end` to the users of the test, who did nothing since their cuts."""
    profiles = cut_profiles(Features(settings), split, truth.users, len(bundle.json("vocabulary")))
    (entry,) = importlib.metadata.entry_points(group="tastemaker.pipelines", name="served")
    replay: Pipeline = entry.load()
    trails, user_ids = split.past.trails(), split.past.user_ids
    return replay(
        bundle,
        settings,
        [user_ids[user] for user in truth.users],
        [trails[user] for user in truth.users],
        profiles,
        int(end.timestamp()),
        n,
    )
