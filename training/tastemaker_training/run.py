"""A training run, told from the lake to the registry.

lake → interactions → two-tower → item-to-item table → ranker → bundle → evaluation → registry
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import torch

from tastemaker import bundle
from tastemaker.features.definitions import SERVICE, schema_hash
from tastemaker.features.store import publish_embeddings
from tastemaker.lake import Lake
from tastemaker.registry import CHALLENGER, CHAMPION, ITEMS, Registry
from tastemaker.types import ModelRef
from tastemaker_training import cluster
from tastemaker_training.data import Data, read
from tastemaker_training.interactions import Floats
from tastemaker_training.job import Job
from tastemaker_training.ranker import export_ranker, item_halves
from tastemaker_training.ranking import Ranking, fit_ranking, most_liked
from tastemaker_training.recipes import Recipe
from tastemaker_training.report import evaluate, refusals
from tastemaker_training.towers import Towers, fit_towers
from tastemaker_training.two_tower import export_user_tower


def train(job: Job) -> tuple[ModelRef, dict[str, Any]]:
    """Train, evaluate and register a bundle; returns its version and its report.

    The newest version is the challenger; it becomes the champion unless its evaluation refuses it.

    Raises:
        NotFound: the lake has no events or no catalogue.
        Unavailable: Ray or the registry does not answer.
    """
    settings, recipe = job.settings, job.recipe
    settings.home.mkdir(parents=True, exist_ok=True)
    data = read(settings, recipe, job.narrator)
    name = run_name(recipe, data)
    storage = settings.home / "runs" / name
    with cluster.session(settings):
        fitted, refreshed = fit_towers(job, data, storage)
        ranking = fit_ranking(job, data, fitted, refreshed, storage)
    with tempfile.TemporaryDirectory(dir=settings.home) as directory:
        draft = Path(directory) / name
        parts = bundle_parts(data, refreshed, ranking, recipe, Path(directory))
        with job.narrator.step("Evaluation against the baselines") as tell:
            _write(draft, parts, data)
            report = evaluate(bundle.read(draft), settings, recipe)
            tell(_headline(report, recipe))
        _write(draft, {**parts, "report": report}, data)
        with job.narrator.step("Registry") as tell:
            ref = register(job, draft, report)
            tell(str(ref))
    publish_embeddings(Lake(settings.lake), data.known.item_ids, refreshed.vectors, datetime.now(UTC))
    shutil.rmtree(storage, ignore_errors=True)
    return ref, report


def run_name(recipe: Recipe, data: Data) -> str:
    """The same for the same recipe over the same data, so that an interrupted run is found again."""
    digest = hashlib.sha256(repr(recipe).encode())
    for column in (data.known.offsets, data.known.items, data.known.preferences, data.known.timestamps):
        digest.update(column.tobytes())
    return f"{recipe.name}-{digest.hexdigest()[:12]}"


def register(job: Job, draft: Path, report: dict[str, Any]) -> ModelRef:
    """Register the bundle as challenger; as champion, too, unless its report refuses it."""
    recipe, registry = job.recipe, Registry(job.settings)
    served = report["models"]["served"]
    metrics = {name: value for name, value in served.items() if isinstance(value, float)}
    parameters = {"recipe": recipe.name, "seed": str(recipe.seed), ITEMS: str(report["split"]["items"])}
    ref = registry.register(draft, metrics, parameters, CHALLENGER)
    reasons = refusals(report, recipe.slate)
    if reasons:
        job.narrator.say(f"[yellow]{ref} stays challenger: {'; '.join(reasons)}")
    elif job.challenge and registry.has(CHAMPION):
        job.narrator.say(f"{ref} is challenger; a rollout may make it champion")
    else:
        registry.promote(ref.version, CHAMPION)
    return ref


def bundle_parts(
    data: Data, towers: Towers, ranking: Ranking, recipe: Recipe, scratch: Path
) -> dict[str, bundle.PartValue]:
    """Every part of the bundle but the final report."""
    user_tower, ranker_program, index_file = (scratch / name for name in ("tower.pt2", "ranker.pt2", "index.faiss"))
    torch.export.save(export_user_tower(towers.model, data.profiles.shape[1]), user_tower)
    torch.export.save(export_ranker(ranking.ranker, towers.vectors.shape[1], data.profiles.shape[1]), ranker_program)
    faiss.write_index(flat_index(towers.vectors), str(index_file))
    return {
        "items": data.items,
        "item_vectors": towers.vectors,
        "index": index_file,
        "neighbours": ranking.neighbours.codes,
        "neighbour_weights": ranking.neighbours.weights,
        "user_tower": user_tower,
        "ranker": ranker_program,
        "ranker_items": item_halves(ranking.ranker, ranking.items),
        "popularity": most_liked(data, data.known, recipe),
        "vocabulary": data.vocabulary,
        "report": {},
        "recipe": asdict(recipe) | {"user_buckets": recipe.two_tower.user_buckets},
    }


def flat_index(vectors: Floats) -> faiss.Index:
    """An exact scan of half-precision vectors by inner product: at 50,000 items it is both faster and more exact than
    any approximate index (docs/models.md has the figures)."""
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def _write(path: Path, parts: dict[str, bundle.PartValue], data: Data) -> None:
    bundle.write(path, parts, feature_service=SERVICE, feature_schema=schema_hash(), data_window=data.window)


def _headline(report: dict[str, Any], recipe: Recipe) -> str:
    served, als = report["models"]["served"], report["models"]["als"]
    metric = f"ndcg@{recipe.slate}"
    return f"{metric} {served[metric]:.3f} served, {als[metric]:.3f} by ALS"
