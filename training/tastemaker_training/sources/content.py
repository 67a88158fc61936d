"""The content-based model: items like those that a person liked lately, by what they are about.

Latent semantic analysis of titles, texts and categories (Deerwester et al. 1990) over hashed words. It needs no events
of an item, so a new item is recommendable the moment it is in the catalogue.

B users, N items, W word buckets, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from tastemaker.features.content import ContentProjection, word_counts
from tastemaker_training.interactions import Floats, Interactions, Ints
from tastemaker_training.recipes import ContentRecipe
from tastemaker_training.sources.histories import votes


@dataclass(frozen=True)
class Content:
    """Content vectors of a catalogue."""

    projection: ContentProjection
    vectors: Floats  # (N, D), rows of length 1
    recipe: ContentRecipe

    def scores(self, known: Interactions, users: Ints) -> Floats:
        """Summed cosine to what each user liked, by recency (B, N): Source.scores."""
        age = np.arange(self.recipe.memory)
        taste = votes(known, users, (1.0 + age) ** -self.recipe.decay) @ self.vectors
        return taste @ self.vectors.T


def fit(items: pa.Table, recipe: ContentRecipe, seed: int) -> Content:
    """Content vectors of the catalogue `items`, of at most `recipe.dim` dimensions."""
    counts = word_counts(items, recipe.word_buckets)
    frequency = np.bincount(counts.indices, minlength=recipe.word_buckets)
    idf = np.where(frequency > 0, np.log((1 + items.num_rows) / (1 + frequency)), 0.0).astype(np.float32)
    used = np.flatnonzero(idf)
    directions = np.zeros((recipe.word_buckets, recipe.dim), dtype=np.float32)
    dim = min(recipe.dim, len(used) - 1, items.num_rows - 1)
    if dim > 0:
        weighted = normalize(counts.multiply(idf).tocsr()[:, used])
        svd = TruncatedSVD(dim, random_state=seed).fit(weighted)
        directions[used, :dim] = svd.components_.T
    projection = ContentProjection(idf, directions)
    return Content(projection, projection.vectors(items), recipe)
