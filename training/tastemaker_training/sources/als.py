"""Alternating least squares for implicit feedback (Hu, Koren & Volinsky 2008), by the library `implicit`.

Only the items' factors are kept: a user's are the solution of the least squares that their history poses (equation 4),
so that users the model has never seen and events newer than the fit count like any other.

U users, N items, B users of a request, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import threadpoolctl
import torch
from implicit.cpu.als import AlternatingLeastSquares

from tastemaker.features.fold_in import ItemFactors
from tastemaker_training.evaluation.slates import Slates, best_unseen, passes
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import ALSRecipe

FOLDED = 64
"""Users folded in at once."""


@dataclass(frozen=True)
class ALS:
    """Factors of the items, which histories are folded in with."""

    items: ItemFactors

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Inner products (B, N) of the items' factors with those of each user's history: Source.scores."""
        found = np.empty((len(users), len(self.items.vectors)), dtype=np.float32)
        for start in range(0, len(users), FOLDED):
            rows = users[start : start + FOLDED]
            found[start : start + FOLDED] = self._users(known, rows) @ self.items.vectors.T
        return found

    def _users(self, known: Interactions, users: Ints) -> Floats:
        """Factors (B, F) that fit the likes of `users` (B,) best."""
        liked = known.preferences >= self.items.liked
        histories = [np.unique(known.items[known.of(user)][liked[known.of(user)]]) for user in users]
        codes = np.full((len(users), max(1, *map(len, histories))), -1)
        for row, history in enumerate(histories):
            codes[row, : len(history)] = history
        return self.items.fold_in(codes, np.ones(codes.shape, dtype=np.float32))


def fit(interactions: Interactions, recipe: ALSRecipe, liked: float, seed: int) -> ALS:
    """Factors of the items of `interactions`.

    The model is fitted to likes alone: on ratings that beats weights for everything seen.
    """
    # The library warns of threads beneath its own as soon as it is constructed.
    with threadpoolctl.threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=recipe.factors,
            regularization=recipe.regularization,
            alpha=recipe.alpha,
            iterations=recipe.iterations,
            random_state=seed,
        )
        model.fit(_likes(interactions, liked), show_progress=False)
    factors = np.asarray(model.item_factors, dtype=np.float32)
    ridge = np.float32(recipe.regularization) * np.eye(recipe.factors, dtype=np.float32)
    return ALS(ItemFactors(factors, factors.T @ factors + ridge, recipe.alpha, liked))


def recommend(interactions: Interactions, recipe: ALSRecipe, n: int, liked: float, seed: int) -> Slates:
    """Each user's `n` best unseen items, shape (U, n), best first, -1 where there are fewer."""
    model = fit(interactions, recipe, liked, seed)
    slates = np.full((len(interactions.user_ids), n), -1, dtype=np.int32)
    for part in passes(len(slates), len(interactions.item_ids)):
        users = np.arange(part.start, part.stop)
        scores = torch.from_numpy(model.scores(interactions, users))
        slates[part] = best_unseen(scores, *interactions.had(users), n)
    return slates


def _likes(interactions: Interactions, liked: float) -> sp.csr_matrix:
    """Who liked what (U, N), each 1 however often."""
    kept = interactions.preferences >= liked
    matrix = sp.csr_matrix(
        (np.ones(np.count_nonzero(kept), dtype=np.float32), (interactions.users[kept], interactions.items[kept])),
        shape=(len(interactions.user_ids), len(interactions.item_ids)),
    )
    matrix.data[:] = 1.0  # the constructor summed what came twice
    return matrix
