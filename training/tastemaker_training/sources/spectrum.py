"""The graph of users and items and its smoothest directions: what changes least between items that share users.

Both the graph filter and the two-tower model's start are made of it (Shen et al. 2021, "How Powerful is Graph
Convolution for Recommendation?").

U users, N items, D directions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.extmath import randomized_svd

from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.sources.neighbours import liking_matrix

OVERSAMPLES = 32
POWER_ITERATIONS = 3


def normalised(interactions: Interactions, damping: float = 0.0) -> tuple[sp.csr_array, Floats]:
    """Likings (U, N) by the square roots of both sides' sums, float32, and the sums of the items (N,).

    A user or an item without likings has the sum 1.

    Args:
        damping: likings that every user and item has besides, so that what few share is no direction of its own.
    """
    likings = liking_matrix(interactions)
    of_users, of_items = (_sums(likings, axis) + np.float32(damping) for axis in (1, 0))
    scaled = likings.multiply(of_users[:, None] ** -0.5).multiply(of_items**-0.5)
    return sp.csr_array(scaled, dtype=np.float32), of_items


def directions(matrix: sp.csr_array, most: int, seed: int) -> Floats:
    """The right singular vectors (N, D) of `matrix` (U, N) with the largest singular values, D <= `most`."""
    rank = max(1, min(most, *matrix.shape))
    _, _, vectors = randomized_svd(
        sp.csr_matrix(matrix), rank, n_oversamples=OVERSAMPLES, n_iter=POWER_ITERATIONS, random_state=seed
    )
    return np.ascontiguousarray(vectors.T, dtype=np.float32)


def _sums(likings: sp.csr_array, axis: int) -> npt.NDArray[np.float32]:
    sums = np.asarray(likings.sum(axis=axis), dtype=np.float32)
    return np.where(sums > 0, sums, np.float32(1))
