"""A training run, told from the lake to the registry.

lake → interactions → two-tower → item-to-item table, ALS, content → ranker → bundle → evaluation → registry
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from tastemaker import bundle, ray_session
from tastemaker.errors import Conflict
from tastemaker.features.definitions import SERVICE, schema_hash
from tastemaker.features.store import publish_embeddings
from tastemaker.gates import evidence_of
from tastemaker.lake import Lake
from tastemaker.manifest import Manifest
from tastemaker.papers import CARD, Papers
from tastemaker.promotion import champion_beside, check, promote, verdicts
from tastemaker.registry import CHALLENGER, CHAMPION, ITEMS, Registry
from tastemaker.space import flat_index
from tastemaker.types import ModelRef
from tastemaker_training import checkpoints, curves, room
from tastemaker_training.checkpoints import Storage
from tastemaker_training.data import Data, read
from tastemaker_training.incumbent import incumbent
from tastemaker_training.job import Job
from tastemaker_training.model_card import Made, model_card
from tastemaker_training.ranker.model import export_ranker, item_halves
from tastemaker_training.ranker.stage import Ranking, fit_ranking, most_liked
from tastemaker_training.recipes import Recipe
from tastemaker_training.report import evaluate
from tastemaker_training.towers.stage import Towers, fit_towers
from tastemaker_training.towers.two_tower import export_user_tower

CODE = ("tastemaker", "torch", "ray")
"""Distributions whose other versions may not go on from a checkpoint."""


def train(job: Job) -> tuple[ModelRef, dict[str, Any]]:
    """Train, evaluate and register a bundle; returns its version and its report.

    The newest version is the challenger; it becomes the champion unless its evaluation refuses it.

    Raises:
        NotFound: the lake has no events or no catalogue.
        InvalidInput: there is no room for so many workers.
        Unavailable: Ray or the registry does not answer.
    """
    settings, recipe = job.settings, job.recipe
    settings.home.mkdir(parents=True, exist_ok=True)
    data = read(settings, recipe, job.narrator)
    name = run_name(recipe, data)
    storage = _storage(job, name)
    with ray_session.session(settings, job.hardware.most):
        room.find(job.hardware, settings, job.narrator.say)
        fitted, refreshed = fit_towers(job, data, storage)
        ranking = fit_ranking(job, data, fitted, refreshed, storage)
    with tempfile.TemporaryDirectory(dir=settings.home) as directory:
        draft = Path(directory) / name
        parts = bundle_parts(data, refreshed, ranking, recipe, Path(directory))
        with job.narrator.step("Evaluation against the baselines") as tell:
            _write(draft, parts, data)
            report = evaluate(bundle.read(draft), settings, recipe, incumbent(Registry(settings)))
            tell(_headline(report, recipe))
        with job.narrator.step("Registry") as tell:
            card = Path(directory) / "model_card.md"
            card.write_text(_card(job, bundle.read(draft, only=()).manifest, name, report))
            _write(draft, {**parts, "report": report, CARD: card}, data)
            ref = register(job, draft, report, _papers(card.read_text(), refreshed, ranking))
            tell(str(ref))
    publish_embeddings(Lake(settings.lake), data.known.item_ids, refreshed.vectors, datetime.now(UTC))
    storage.forget()
    return ref, report


def run_name(recipe: Recipe, data: Data) -> str:
    """The same for the same recipe, data and code, so that an interrupted run is found again, and no other one.

    Whatever gives a model its shape is part of it: another catalogue's checkpoints do not fit.
    """
    known, digest = data.known, hashlib.sha256(repr(recipe).encode())
    for library in CODE:
        digest.update(f"{library} {importlib.metadata.version(library)}".encode())
    for names in (known.item_ids, known.user_ids, data.vocabulary):
        digest.update(json.dumps(names).encode())
    for column in (known.offsets, known.items, known.preferences, known.timestamps, known.completed):
        digest.update(b"" if column is None else column.tobytes())
    digest.update(f"{data.profiles.shape}".encode())
    return f"{recipe.name}-{digest.hexdigest()[:12]}"


def _storage(job: Job, name: str) -> Storage:
    """Where the run keeps its checkpoints, once those that nobody came back for are gone."""
    storage = checkpoints.storage(job.settings, name)
    storage.touch()
    for abandoned in checkpoints.clear(job.settings):
        job.narrator.say(f"the checkpoints of {abandoned}, a run that was abandoned, are cleared")
    return storage


def register(job: Job, draft: Path, report: dict[str, Any], papers: Papers) -> ModelRef:
    """Register the bundle as challenger; as champion, too, unless a gate refuses it."""
    recipe, registry = job.recipe, Registry(job.settings)
    served = report["models"]["served"]
    metrics = {name: value for name, value in served.items() if isinstance(value, float)}
    parameters = {"recipe": recipe.name, "seed": str(recipe.seed), ITEMS: str(report["split"]["items"])}
    ref = registry.register(draft, metrics, parameters, CHALLENGER, papers)
    try:
        if job.challenge and registry.has(CHAMPION):
            check(registry, ref.version, live=True)
            job.narrator.say(f"{ref} is challenger; a rollout may make it champion")
        else:
            promote(registry, ref.version)
    except Conflict as refusal:
        job.narrator.say(f"[yellow]{ref} stays challenger: {refusal}")
    return ref


def _papers(card: str, towers: Towers, ranking: Ranking) -> Papers:
    drawn = {**towers.curves, "ranker": ranking.curve}
    return Papers(card, curves.metrics(drawn), {"figures/training.png": curves.picture(drawn)})


def _card(job: Job, manifest: Manifest, name: str, report: dict[str, Any]) -> str:
    made = Made(name, manifest, job.recipe, job.hardware, job.settings.serving.funnel)
    champion = champion_beside(Registry(job.settings))
    return model_card(made, report, verdicts(evidence_of(report), champion, job.settings.gates))


def bundle_parts(
    data: Data, towers: Towers, ranking: Ranking, recipe: Recipe, scratch: Path
) -> dict[str, bundle.PartValue]:
    """Every part of the bundle but the final report."""
    user_tower, ranker_program, index_file = (scratch / name for name in ("tower.pt2", "ranker.pt2", "index.faiss"))
    torch.export.save(export_user_tower(towers.model, data.profiles.shape[1]), user_tower)
    torch.export.save(export_ranker(ranking.ranker, towers.vectors.shape[1], data.profiles.shape[1]), ranker_program)
    faiss.write_index(flat_index(towers.vectors), str(index_file))
    near, factors, content = ranking.sources.neighbours, ranking.sources.als.items, ranking.sources.content
    return {
        "items": data.items,
        "item_vectors": towers.vectors,
        "index": index_file,
        "als_factors": factors.vectors,
        "als_gram": factors.gram,
        "content_vectors": content.vectors,
        "content_idf": content.projection.idf,
        "content_directions": content.projection.directions.astype(np.float16),
        "neighbours": near.codes,
        "neighbour_weights": near.weights,
        "user_tower": user_tower,
        "ranker": ranker_program,
        "ranker_items": item_halves(ranking.ranker, ranking.items),
        "popularity": most_liked(data, data.known, recipe),
        "vocabulary": data.vocabulary,
        "report": {"calibration": ranking.calibration},
        "recipe": asdict(recipe) | {"user_buckets": recipe.two_tower.user_buckets, "heads": ranking.ranker.heads},
    }


def _write(path: Path, parts: dict[str, bundle.PartValue], data: Data) -> None:
    bundle.write(path, parts, feature_service=SERVICE, feature_schema=schema_hash(), data_window=data.window)


def _headline(report: dict[str, Any], recipe: Recipe) -> str:
    served, als = report["models"]["served"], report["models"]["als"]
    metric = f"ndcg@{recipe.slate}"
    return f"{metric} {served[metric]:.3f} served, {als[metric]:.3f} by ALS"
