"""The item-to-item table: for each item, the items that a person who liked it goes on to like.

Half of a weight is EASE, a linear autoencoder with a closed form (Steck 2019); half is how often the second item
follows the first within a window of a user's likes. Together they beat either: the one knows what belongs together,
the other what comes next. Where the catalogue is too large for EASE, the sequence half stands alone.

U users, N items, E events, K neighbours, R items of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from tastemaker.features.cross import LIKING, liking
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.recipes import NeighboursRecipe

EASE_SIDE = 20_000
"""Largest side of the matrix that EASE inverts: 1.6 GB in float32."""
EASE_ITEMS = 100_000
"""Largest catalogue whose EASE weights are computed: all N² of them pass through memory, chunk by chunk."""
CHUNK_ENTRIES = 8_000_000
"""Entries of one chunk of weights (R, N): 32 MB in float32."""
SCALE_ROWS = 1024
"""Rows that a half's scale is estimated from."""
SCALE_PLACES = 20
"""A half is scaled so that the largest weights of an item, so many, are 1 on average."""
SHRINKAGE = 5.0
"""Likes added to the normalisation of co-occurrence, so that rare pairs do not win."""

Rows = Callable[[slice], Floats]
"""Some rows (R, N) of an item-to-item matrix."""


@dataclass(frozen=True)
class Neighbours:
    """Every item's neighbours, best first."""

    codes: npt.NDArray[np.int32]  # (N, K) item codes, -1 where there are fewer
    weights: Floats  # (N, K), 0 where there are fewer


def build(interactions: Interactions, recipe: NeighboursRecipe) -> Neighbours:
    """The item-to-item table of `interactions`."""
    matrix = liking_matrix(interactions)
    sequence = follow_ups(interactions, recipe.window)
    users, items = matrix.shape
    if min(users, items) > EASE_SIDE or items > EASE_ITEMS:
        return _sparse_top(sequence, recipe.neighbours)
    belongs, follows = ease(matrix, recipe.ridge), _rows_of(sequence)
    share = recipe.sequence_share
    weigh_belongs = (1 - share) / _scale(belongs, items)
    weigh_follows = share / _scale(follows, items)
    chunks = (
        _dense_top(weigh_belongs * belongs(rows) + weigh_follows * follows(rows), recipe.neighbours)
        for rows in _chunks(items)
    )
    codes, weights = zip(*chunks, strict=True)
    return Neighbours(np.concatenate(codes), np.concatenate(weights))


def liking_matrix(interactions: Interactions) -> sp.csr_array:
    """How much each user liked each item (U, N), float32: `cross.liking` summed over events, up to its largest."""
    weights = liking(interactions.preferences)
    matrix = sp.csr_array(
        (weights, interactions.items.astype(np.int32), interactions.offsets.astype(np.int32)),
        shape=(len(interactions.user_ids), len(interactions.item_ids)),
    )
    matrix.sum_duplicates()
    matrix.data = np.minimum(matrix.data, LIKING[-1], dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix


def ease(matrix: sp.csr_array, ridge: float) -> Rows:
    """Weights of EASE for `matrix` (U, N), exactly, through the inverse of its smaller side.

    With the Gram matrix G = XᵀX and P = (G + λI)⁻¹, the weights are B = -P_ij / P_jj, zero on the diagonal (Steck 2019,
    equation 8). By Woodbury's identity P = (I - XᵀAX) / λ with A = (XXᵀ + λI)⁻¹, of the size of the users.
    """
    users, items = matrix.shape
    if items <= users:
        inverse = _regularised_inverse(matrix.T @ matrix, ridge)
        diagonal = inverse.diagonal().copy()
        return lambda rows: _without_self(inverse[rows] / -diagonal, rows)
    inverse = _regularised_inverse(matrix @ matrix.T, ridge)
    by_item, by_user = matrix.T.tocsr(), matrix.tocsc().T  # (N, U) both: rows of the one and products with the other
    own = np.concatenate([by_item[rows].multiply(by_item[rows] @ inverse).sum(axis=1) for rows in _chunks(items)])

    def weights(rows: slice) -> Floats:
        shared = by_user @ (by_item[rows] @ inverse).T  # (N, R)
        return _without_self(shared.T / (1 - own), rows)

    return weights


def follow_ups(interactions: Interactions, window: int) -> sp.csr_array:
    """How strongly the second of two items follows the first, shape (N, N), float32, zero on the diagonal.

    Sum over users, and over pairs of liked events at most `window` likes apart, of the product of both likings by the
    square root of one plus their distance; normalised by the geometric mean of both items' total liking.
    """
    strength = liking(interactions.preferences)
    liked = np.flatnonzero(strength)
    items, users, strength = interactions.items[liked].astype(np.int32), interactions.users[liked], strength[liked]
    size = len(interactions.item_ids)
    counts: Any = sp.csr_array((size, size), dtype=np.float32)
    for gap in range(1, min(window, len(liked) - 1) + 1):
        same = (users[gap:] == users[:-gap]) & (items[gap:] != items[:-gap])
        weight = (strength[:-gap] * strength[gap:])[same] / np.float32(np.sqrt(1 + gap))
        counts += sp.csr_array((weight, (items[:-gap][same], items[gap:][same])), shape=(size, size))
    root = np.sqrt(np.bincount(items, weights=strength, minlength=size)).astype(np.float32)
    counts.data /= np.repeat(root, np.diff(counts.indptr)) * root[counts.indices] + np.float32(SHRINKAGE)
    return counts  # type: ignore[no-any-return]


def _regularised_inverse(gram: sp.csr_array, ridge: float) -> Floats:
    dense = gram.toarray()
    dense[np.diag_indices_from(dense)] += np.float32(ridge)
    return np.linalg.inv(dense)


def _without_self(weights: Floats, rows: slice) -> Floats:
    weights[np.arange(len(weights)), np.arange(*rows.indices(weights.shape[1]))] = 0
    return weights


def _rows_of(matrix: sp.csr_array) -> Rows:
    return lambda rows: matrix[rows].toarray()


def _chunks(items: int) -> Iterator[slice]:
    size = max(1, CHUNK_ENTRIES // items)
    return (slice(start, min(start + size, items)) for start in range(0, items, size))


def _scale(weights: Rows, items: int) -> float:
    """Mean of the largest `SCALE_PLACES` weights per item, over rows spread evenly; 1 where nothing is positive."""
    step = max(1, items // SCALE_ROWS)
    sample = torch.from_numpy(weights(slice(0, items, step)))
    top = sample.topk(min(SCALE_PLACES, items), dim=1).values.clamp(min=0).mean().item()
    return top or 1.0


def _dense_top(weights: Floats, k: int) -> tuple[npt.NDArray[np.int32], Floats]:
    """Codes and weights (R, k) of the largest positive `weights` (R, N)."""
    top = torch.from_numpy(weights).topk(min(k, weights.shape[1]), dim=1)
    found = top.values.numpy()
    codes = np.where(found > 0, top.indices.numpy(), -1).astype(np.int32)
    return codes, np.maximum(found, 0)


def _sparse_top(matrix: sp.csr_array, k: int) -> Neighbours:
    """The largest `k` entries of each row, which are all positive."""
    size = matrix.shape[0]
    rows = np.repeat(np.arange(size), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))
    place = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
    kept = place < k
    table = Neighbours(np.full((size, k), -1, dtype=np.int32), np.zeros((size, k), dtype=np.float32))
    table.codes[rows[kept], place[kept]] = matrix.indices[order][kept]
    table.weights[rows[kept], place[kept]] = matrix.data[order][kept]
    return table
