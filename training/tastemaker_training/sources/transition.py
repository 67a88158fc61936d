"""Decayed item-to-item transitions: what follows what, and how soon.

A first-order view of a sequence that the strongest sequence models find hard to beat on short histories. Event pairs of
a user count by their distance; a history votes by recency.

B users, N items, E events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tastemaker.features.cross import liking
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import TransitionRecipe
from tastemaker_training.sources.histories import votes

MEMORY = 50
"""Newest events that vote; at the default recency an older one would count for nothing."""


@dataclass(frozen=True)
class Transition:
    """How strongly each item follows each other, and how a history votes."""

    table: sp.csr_array  # (N, N) float32, row: the earlier item
    recipe: TransitionRecipe

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Votes of each user's newest events (B, N): Source.scores."""
        ages = np.arange(MEMORY)
        return (votes(known, users, self.recipe.recency**ages) @ self.table).toarray()  # type: ignore[no-any-return]


def fit(interactions: Interactions, recipe: TransitionRecipe) -> Transition:
    """Count the transitions of `interactions`.

    The weight of i → j is the sum, over pairs of a user's events g ≤ `window` places apart, of both likings by
    `gap_decay` ** (g - 1), divided by total_i ** `source_exponent` · total_j ** `target_exponent`; a share `backward`
    of it counts for j → i, too: what goes together goes in either order.
    """
    strength = liking(interactions.preferences)
    liked = np.flatnonzero(strength)
    items, users, strength = interactions.items[liked].astype(np.int32), interactions.users[liked], strength[liked]
    size = len(interactions.item_ids)
    counts: Any = sp.csr_array((size, size), dtype=np.float32)
    for gap in range(1, min(recipe.window, len(liked) - 1) + 1):
        same = (users[gap:] == users[:-gap]) & (items[gap:] != items[:-gap])
        weight = (strength[:-gap] * strength[gap:])[same] * np.float32(recipe.gap_decay ** (gap - 1))
        counts += sp.csr_array((weight, (items[:-gap][same], items[gap:][same])), shape=(size, size))
    if recipe.backward:
        counts = (counts + np.float32(recipe.backward) * counts.T).tocsr()
    total = np.bincount(items, weights=strength, minlength=size) + 1.0
    source, target = total**-recipe.source_exponent, total**-recipe.target_exponent
    counts.data *= (np.repeat(source, np.diff(counts.indptr)) * target[counts.indices]).astype(np.float32)
    return Transition(counts, recipe)
