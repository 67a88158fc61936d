"""A bundle of any size with untrained models of the real shapes: for benchmarks and tests, where only cost matters.

B users, L history, N items, D vector width, P profile width, C candidates, F cross features, H ranker width,
T heads.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn

from tastemaker import bundle, columns
from tastemaker.features.content import unit
from tastemaker.features.cross import CROSS_FEATURES
from tastemaker.features.definitions import SERVICE, schema_hash
from tastemaker.features.profile import profile_width
from tastemaker.heads import HEADS
from tastemaker.manifest import Manifest
from tastemaker.space import flat_index

USER_BUCKETS = 10_000
CATEGORIES = tuple(f"category-{number}" for number in range(20))
NEIGHBOURS = 100
POPULAR = 500
HIDDEN = (256, 128)
FACTORS = 64  # of ALS, and of content vectors
WORDS = 1_024


class UserTower(nn.Module):
    """Attention over the history by preference and age, with the hashed user and the profile; vectors of length 1."""

    def __init__(self, items: int, dim: int, profile: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, dim)
        self.user = nn.Embedding(USER_BUCKETS, dim)
        self.attention = nn.Linear(2, 1)
        self.profile = nn.Linear(profile, dim)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(
        self,
        history: torch.Tensor,  # (B, L)
        preference: torch.Tensor,  # (B, L)
        age: torch.Tensor,  # (B, L)
        user: torch.Tensor,  # (B, 2)
        profile: torch.Tensor,  # (B, P)
    ) -> torch.Tensor:
        """User vectors (B, D)."""
        logits = self.attention(torch.stack([preference, age], dim=-1)).squeeze(-1).masked_fill(history < 0, -1e9)
        taste = torch.einsum("bl,bld->bd", logits.softmax(dim=-1), self.item(history + 1))
        known = taste + self.user(user).sum(dim=1) + self.profile(profile)
        return nn.functional.normalize(self.head(known), dim=-1)


class Ranker(nn.Module):
    """Multilayer perceptron H-128-T whose first layer is split: the item's half comes ready-made."""

    def __init__(self, dim: int, profile: int) -> None:
        super().__init__()
        self.user_half = nn.Linear(dim + profile, HIDDEN[0])
        self.cross = nn.Linear(len(CROSS_FEATURES), HIDDEN[0], bias=False)
        self.hidden = nn.Linear(*HIDDEN)
        self.output = nn.Linear(HIDDEN[1], len(HEADS))

    def forward(
        self,
        user_vector: torch.Tensor,  # (B, D)
        profile: torch.Tensor,  # (B, P)
        item_half: torch.Tensor,  # (B, C, H)
        cross: torch.Tensor,  # (B, C, F)
    ) -> torch.Tensor:
        """Probabilities (B, C, T)."""
        user_half = self.user_half(torch.cat([user_vector, profile], dim=-1)).unsqueeze(1)
        # One product adds the item's half on the way, and the rest happens in place: the layer is bound by memory.
        weight = self.cross.weight.T.expand(cross.shape[0], -1, -1)
        first = torch.baddbmm(item_half.float(), cross, weight).add_(user_half).relu_()
        probabilities: torch.Tensor = self.output(self.hidden(first).relu_()).sigmoid_()
        return probabilities


def write(
    path: Path, items: int = 50_000, dim: int = 256, seed: int = 0, catalogue: pa.Table | None = None
) -> Manifest:
    """Write a bundle of `items` random items, or those of the `catalogue`, with vectors of width `dim` to `path`."""
    items = items if catalogue is None else catalogue.num_rows
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    profile = profile_width(len(CATEGORIES))
    vectors = generator.standard_normal((items, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = min(NEIGHBOURS, items - 1)
    # The next items by code, the farthest of them weakest: never the item itself, never one twice.
    neighbours = (np.arange(items)[:, None] + np.arange(1, near + 1)) % items
    weights = np.tile(np.linspace(1.0, 0.1, near, dtype=np.float32), (items, 1))
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft)
        parts: dict[str, bundle.PartValue] = {
            "items": _catalogue(items, generator) if catalogue is None else catalogue,
            "item_vectors": vectors,
            "index": _index(folder / "index.faiss", vectors),
            "als_factors": generator.standard_normal((items, FACTORS), dtype=np.float32),
            "als_gram": np.eye(FACTORS, dtype=np.float32),
            "content_vectors": unit(generator.standard_normal((items, FACTORS), dtype=np.float32)),
            "content_idf": np.ones(WORDS, dtype=np.float32),
            "content_directions": generator.standard_normal((WORDS, FACTORS)).astype(np.float16),
            "neighbours": neighbours.astype(np.int32),
            "neighbour_weights": weights,
            "user_tower": _export_tower(folder / "user_tower.pt2", UserTower(items, dim, profile), profile),
            "ranker": _export_ranker(folder / "ranker.pt2", Ranker(dim, profile), dim, profile),
            "ranker_items": generator.standard_normal((items, HIDDEN[0]), dtype=np.float32).astype(np.float16),
            "popularity": _popularity(items, generator),
            "vocabulary": list(CATEGORIES),
            "report": {},
            "recipe": {
                "name": "synthetic",
                "two_tower": {"user_buckets": USER_BUCKETS},
                "als": {"alpha": 10.0},
                "liked": 0.6,
                "heads": HEADS,
            },
        }
        today = datetime.now(UTC)
        return bundle.write(
            path, parts, feature_service=SERVICE, feature_schema=schema_hash(), data_window=(today, today)
        )


def _catalogue(items: int, generator: np.random.Generator) -> pa.Table:
    names = np.array(CATEGORIES)[generator.integers(0, len(CATEGORIES), size=(items, 2))]
    return pa.table(
        {
            columns.ITEM_ID: [f"item-{code}" for code in range(items)],
            columns.TITLE: [f"Item {code}" for code in range(items)],
            columns.CATEGORIES: [sorted(set(pair)) for pair in names.tolist()],
            columns.RELEASE_YEAR: generator.integers(1950, 2025, items),
            columns.CONTENT_LENGTH_MIN: generator.uniform(60.0, 180.0, items).astype(np.float32),
            columns.AVG_RATING: generator.uniform(1.0, 5.0, items).astype(np.float32),
            columns.POPULARITY_SCORE_7D: generator.pareto(1.0, items).astype(np.float32),
        }
    )


def _popularity(items: int, generator: np.random.Generator) -> dict[str, object]:
    def some() -> list[int]:
        return generator.permutation(items)[:POPULAR].tolist()  # type: ignore[no-any-return]

    named = {name: some() for name in CATEGORIES}
    return {"overall": some(), "category": named, "segment": named}


def _index(file: Path, vectors: npt.NDArray[np.float32]) -> Path:
    faiss.write_index(flat_index(vectors), str(file))
    return file


def _export_tower(file: Path, tower: UserTower, profile: int) -> Path:
    example = (
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(2, 3),
        torch.zeros(2, 3),
        torch.zeros(2, 2, dtype=torch.int64),
        torch.zeros(2, profile),
    )
    batch, length = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    line = {0: batch, 1: length}
    program = torch.export.export(tower.eval(), example, dynamic_shapes=(line, line, line, {0: batch}, {0: batch}))
    torch.export.save(program, file)
    return file


def _export_ranker(file: Path, ranker: Ranker, dim: int, profile: int) -> Path:
    example = (
        torch.zeros(2, dim),
        torch.zeros(2, profile),
        torch.zeros(2, 3, HIDDEN[0], dtype=torch.float16),
        torch.zeros(2, 3, len(CROSS_FEATURES)),
    )
    batch, length = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC
    line = {0: batch, 1: length}
    program = torch.export.export(ranker.eval(), example, dynamic_shapes=({0: batch}, {0: batch}, line, line))
    torch.export.save(program, file)
    return file
