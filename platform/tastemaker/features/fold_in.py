"""A user's factors from their history: the least squares that alternating least squares solve, for anybody.

Hu, Koren & Volinsky 2008, equation 4, with one confidence for all likes: a user the model has never seen and an event
newer than the fit count like any other.

B users, L history, N items, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ItemFactors:
    """What alternating least squares know of a catalogue."""

    vectors: Floats  # (N, F)
    gram: Floats  # (F, F) vectorsᵀ vectors + regularisation
    confidence: float  # of a like; everything else has 1
    liked: float  # preference from which an event counts

    def fold_in(self, history: npt.NDArray[np.integer], preference: Floats) -> Floats:
        """The factors (B, F) that fit the likes of histories best; zero without likes.

        Args:
            history: item codes (B, L), -1 is padding. preference: (B, L) in [-1, 1].
        """
        counts = (history >= 0) & (preference >= self.liked)
        near = self.vectors[np.maximum(history, 0)] * counts[:, :, None]  # (B, L, F)
        system = self.gram + np.float32(self.confidence - 1) * (near.transpose(0, 2, 1) @ near)
        wanted = np.float32(self.confidence) * near.sum(axis=1)
        return np.linalg.solve(system, wanted[:, :, None])[:, :, 0]
