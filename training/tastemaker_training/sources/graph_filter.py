"""A graph filter in closed form: who liked what is a signal on the graph of users and items, and is smoothed along it.

With R the likings (U, N), each divided by the roots of its user's and its item's degree, P = RᵀR spreads a history
over the items that share users with it. A history is blurred by one step of P and by the smoothest directions of the
whole graph, an ideal low-pass filter (GF-CF: Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM
2021), and then sharpened by a step back, which takes away what everybody is close to (BSPM: Choi et al.,
"Blurring-Sharpening Process Models for Collaborative Filtering", SIGIR 2023). Two things are ours, for
they find as much and order it better (docs/models.md): the step back weighs the smooth part more than the result does,
and the result is tilted towards popular items.

U users, N items, B users of a request, D directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from tastemaker.features.cross import LIKING
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import GraphFilterRecipe
from tastemaker_training.sources import spectrum
from tastemaker_training.sources.histories import votes

CHUNK_ENTRIES = 16_000_000
"""Entries of the dense signals (U + N, B) of users scored at once: 64 MB in float32."""
SHARE = 10
"""At most one of so many directions is smooth: a filter that lets all pass says that people like what they have."""


@dataclass(frozen=True)
class GraphFilter:
    """The graph of users and items, and its smoothest directions."""

    by_user: sp.csr_array  # (U, N) float32: R
    by_item: sp.csr_array  # (N, U): its transpose
    directions: Floats  # (N, D) right singular vectors of R
    degrees: Floats  # (N,) likings of each item, 1 where there are none
    recipe: GraphFilterRecipe

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """The filtered histories (B, N) of `users`: Source.scores."""
        longest = int(np.diff(known.offsets).max(initial=0))
        found = np.empty((len(users), len(known.item_ids)), dtype=np.float32)
        for rows in _chunks(len(users), sum(self.by_user.shape)):
            histories = votes(known, users[rows], np.ones(longest))
            histories.sum_duplicates()
            histories.data = np.minimum(histories.data, LIKING[-1], dtype=np.float32)
            found[rows] = self.filtered(histories)
        return found

    def filtered(self, signals: sp.csr_array) -> Floats:
        """`signals` (B, N) blurred and sharpened, (B, N)."""
        recipe, root = self.recipe, np.sqrt(self.degrees)
        local = (signals @ self.by_item @ self.by_user).toarray()
        smooth = (signals.multiply(1 / root).tocsr() @ self.directions) @ (self.directions * root[:, None]).T
        shared = self.by_item @ (self.by_user @ np.ascontiguousarray((local + smooth).T))  # (N, B)
        smooth *= recipe.smooth
        smooth += local
        smooth -= recipe.sharpening * shared.T
        smooth *= self.degrees**recipe.popularity
        return smooth


def fit(interactions: Interactions, recipe: GraphFilterRecipe, seed: int) -> GraphFilter:
    """The graph of `interactions`: the one thing to compute is a truncated singular value decomposition."""
    matrix, degrees = spectrum.normalised(interactions)
    most = min(recipe.directions, max(1, min(matrix.shape) // SHARE))
    return GraphFilter(matrix, matrix.T.tocsr(), spectrum.directions(matrix, most, seed), degrees, recipe)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    size = max(1, CHUNK_ENTRIES // width)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
