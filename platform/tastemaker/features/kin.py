"""What a new item borrows until a bundle knows it, from its kin: known items that are about the same things.

Every row that a model has of an item is the mean of its kin's rows, weighted by likeness of content: k nearest
neighbours as Gantner et al. 2010 map attributes to factors ("Learning attribute-to-feature mappings for cold-start
recommendations", ICDM, section III-A). Here kin also weigh by how much is known of them, which the length of their ALS
factors tells: an item without events has nothing to lend. docs/models.md has the figures.

M new items, N items of the bundle, W word buckets, C content dimensions, F factors, k kin, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker.bundle import Bundle
from tastemaker.features.content import ContentProjection

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

PARTS: Final = ("content_idf", "content_directions", "content_vectors", "als_factors")
"""The parts of a bundle that `Relations` are made of, in this order."""
KIN: Final = 50
SHARPNESS: Final = 4.0
"""Kin weigh by their cosine to this power."""
CHUNK: Final = 64
"""New items that are compared with the whole catalogue at once."""


@dataclass(frozen=True)
class Kin:
    """Whom M new items are akin to."""

    codes: Codes  # (M, k) of the bundle's items, those that weigh most first
    weights: Floats  # (M, k) of sum 1, or all 0 for an item that is like no other

    def mean(self, table: Array) -> Floats:
        """The rows that the new items borrow of `table` (N, W): (M, W)."""
        rows: Floats = np.einsum("mk,mkw->mw", self.weights, table[self.codes].astype(np.float32))
        return rows

    def neighbours(self, table: Codes, weights: Floats) -> tuple[Codes, Floats]:
        """Rows of the item-to-item table (N, K): the kin, and what these are near to; codes and weights (M, K).

        A kin's own weight is that of its nearest neighbour.
        """
        lent = weights[self.codes]  # (M, k, K)
        near = np.concatenate([self.codes[:, :, None], table[self.codes]], axis=2)  # (M, k, 1 + K)
        votes = np.concatenate([lent.max(axis=2, keepdims=True, initial=0.0), lent], axis=2) * self.weights[:, :, None]
        rows, width = len(near), table.shape[1]
        found, strength = np.full((rows, width), -1, dtype=np.int32), np.zeros((rows, width), dtype=np.float32)
        for row, (codes, vote) in enumerate(zip(near.reshape(rows, -1), votes.reshape(rows, -1), strict=True)):
            real = (codes >= 0) & (vote > 0)
            unique, place = np.unique(codes[real], return_inverse=True)
            total = np.bincount(place, weights=vote[real], minlength=len(unique))
            best = np.argsort(-total, kind="stable")[:width]
            found[row, : len(best)], strength[row, : len(best)] = unique[best], total[best]
        return found, strength


@dataclass(frozen=True)
class Relations:
    """What tells who is akin to whom in the catalogue of a bundle."""

    idf: Floats  # (W,) and
    directions: Array  # (W, C) of the content projection
    content: Floats  # (N, C) rows of length 1
    factors: Floats  # (N, F) of ALS

    @classmethod
    def of(cls, bundle: Bundle) -> Relations:
        """Those of `bundle`. Its files are held open, so they may go; they are read when a new item comes."""
        return cls(*map(bundle.array, PARTS))

    @cached_property
    def projection(self) -> ContentProjection:
        """From words to content."""
        return ContentProjection(np.array(self.idf), np.asarray(self.directions, dtype=np.float32))

    @cached_property
    def standing(self) -> Floats:
        """How much is known of each item (N,)."""
        lengths: Floats = np.linalg.norm(self.factors, axis=1)
        return lengths

    def content_of(self, items: pa.Table) -> Floats:
        """What `items` (ITEM_SCHEMA, M rows) are about (M, C); rows of length 1, or zero where no word is known."""
        return self.projection.vectors(items)

    def kin(self, content: Floats) -> Kin:
        """The kin of items that are about `content` (M, C)."""
        found = [self._nearest(content[start : start + CHUNK]) for start in range(0, max(len(content), 1), CHUNK)]
        codes, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Kin(codes, weights)

    def _nearest(self, content: Floats) -> tuple[Codes, Floats]:
        likeness = np.maximum(content @ self.content.T, 0.0) ** np.float32(SHARPNESS) * self.standing
        k = min(KIN, likeness.shape[1])
        near = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(likeness, near, axis=1), axis=1, kind="stable")
        codes: Codes = np.take_along_axis(near, order, axis=1).astype(np.int32)
        weights: Floats = np.take_along_axis(likeness, codes, axis=1)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))
        return codes, weights
