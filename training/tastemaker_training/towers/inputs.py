"""What the item tower is told of each item: its id, its categories, its words, and where the graph puts it.

N items, G categories, R rows of an id, W words, D dimensions of a vector.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import torch

from tastemaker import columns
from tastemaker.ids import key_of, keys_of
from tastemaker_training.dataset import item_metadata
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import TwoTowerRecipe
from tastemaker_training.sources import spectrum
from tastemaker_training.towers.item_tower import ItemInputs

WORD = re.compile(r"\w+")


def item_inputs(
    items: pa.Table, categories: Floats, interactions: Interactions, liked: float, recipe: TwoTowerRecipe
) -> ItemInputs:
    """What the item tower knows: ids, categories, words, and statistics of `interactions` alone."""
    ids, rows = _id_rows(items[columns.ITEM_ID].to_pylist(), recipe.id_rows)
    ids[np.bincount(interactions.items, minlength=len(ids)) == 0] = rows  # nothing will be learnt of them
    unit = categories / np.maximum(np.linalg.norm(categories, axis=1, keepdims=True), 1.0)
    return ItemInputs(
        start=_start(interactions, rows, recipe),
        ids=torch.from_numpy(ids),
        id_rows=rows,
        categories=torch.from_numpy(unit),
        metadata=torch.from_numpy(item_metadata(items, interactions, liked)),
        words=torch.from_numpy(_words(items, recipe)),
    )


def _start(interactions: Interactions, rows: int, recipe: TwoTowerRecipe) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Where the graph of users and items puts the items (N, D - 1): its smoothest directions, in two lengths.

    So a fit begins where a graph filter ends. What many like tells less of a taste, and is liked more. Rows that
    several items share have no such place.
    """
    width = recipe.dim - 1
    if rows != len(interactions.item_ids) or min(rows, len(interactions.user_ids)) <= width:
        return None
    matrix, degrees = spectrum.normalised(interactions, recipe.start_damping)
    found = spectrum.directions(matrix, width, seed=0)
    tilt = degrees[:, None] ** recipe.start_tilt
    liked, told = (torch.from_numpy(_of_length(recipe.start_length, part)) for part in (found * tilt, found / tilt))
    return liked, told


def _of_length(length: float, vectors: Floats) -> Floats:
    """`vectors` (N, W), scaled to a root mean square length."""
    return vectors * np.float32(length * np.sqrt(len(vectors)) / np.linalg.norm(vectors))


def _id_rows(item_ids: list[str], budget: int) -> tuple[Ints, int]:
    """Rows of the id table (N, R), and how many there are: one of its own per item while `budget` rows are enough.

    Beyond that two hashed rows are summed: items that share both are rare (Svenstrup et al. 2017).
    """
    if len(item_ids) <= budget:
        return np.arange(len(item_ids))[:, None], len(item_ids)
    keys = keys_of(item_ids)
    halves = np.stack([keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)], axis=1) % np.uint64(budget)
    return halves.astype(np.int64), budget


def _words(items: pa.Table, recipe: TwoTowerRecipe) -> Ints:
    """Hashed words of title and text, shape (N, W), padded with `token_buckets`."""
    rows = np.full((items.num_rows, recipe.tokens), recipe.token_buckets, dtype=np.int64)
    titles, texts = items[columns.TITLE].to_pylist(), items[columns.TEXT].to_pylist()
    for code, (title, text) in enumerate(zip(titles, texts, strict=True)):
        words = [*WORD.findall((title or "").lower()), *(f"text:{word}" for word in WORD.findall((text or "").lower()))]
        kept = list(dict.fromkeys(words))[: recipe.tokens]
        rows[code, : len(kept)] = [key_of(word) % recipe.token_buckets for word in kept]
    return rows
