"""Alternating least squares for implicit feedback (Hu, Koren & Volinsky 2008), by the library `implicit`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import threadpoolctl
from implicit.cpu.als import AlternatingLeastSquares

from tastemaker_training.interactions import Interactions
from tastemaker_training.recipes import ALSRecipe


def recommend(interactions: Interactions, recipe: ALSRecipe, n: int, liked: float, seed: int) -> npt.NDArray[np.int32]:
    """Each user's `n` best unseen items, shape (U, n), best first, -1 where there are fewer.

    The model is fitted to likes alone: on ratings that beats weights for everything seen.
    """
    likes = interactions.where(interactions.preferences >= liked)
    with threadpoolctl.threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=recipe.factors,
            regularization=recipe.regularization,
            alpha=recipe.alpha,
            iterations=recipe.iterations,
            random_state=seed,
        )
        model.fit(_matrix(likes), show_progress=False)
        found, _ = model.recommend(
            np.arange(len(interactions.user_ids)), _matrix(interactions), N=n, recalculate_user=False
        )
    slates: npt.NDArray[np.int32] = found.astype(np.int32)
    return slates


def _matrix(interactions: Interactions) -> sp.csr_matrix:
    """Who had an event with what, (U, N), each 1 however often."""
    matrix = sp.csr_matrix(
        (
            np.ones(len(interactions.items), dtype=np.float32),
            interactions.items.astype(np.int32),
            interactions.offsets.astype(np.int32),
        ),
        shape=(len(interactions.user_ids), len(interactions.item_ids)),
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
