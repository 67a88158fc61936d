"""How different an item is from those chosen before it: two answers, both built up choice by choice.

B users, R items of the list, W choices at most.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import Codes, Floats

LEAST: Final = 1e-6
"""What is left of an item that the chosen ones span: rounding leaves as much, and the logarithm must stay finite."""


class Novelty(Protocol):
    """What each item would add."""

    gain: Floats  # (B, R)

    def take(self, rows: npt.NDArray[np.intp], places: Codes) -> None:
        """Note that the users `rows` (M,) got the items at `places` (M,); once for each place of their slates."""
        ...


class Marginal:
    """Maximal marginal relevance: minus the largest cosine with a chosen item. (Carbonell & Goldstein 1998, SIGIR)"""

    def __init__(self, likeness: Floats) -> None:
        """Nothing is chosen. `likeness` (B, R, R) holds cosines."""
        self.gain = np.zeros(likeness.shape[:2], dtype=np.float32)
        self._likeness = likeness
        self._is_first = np.ones(len(likeness), dtype=bool)

    def take(self, rows: npt.NDArray[np.intp], places: Codes) -> None:
        """See Novelty."""
        away = -self._likeness[rows, places]
        self.gain[rows] = np.where(self._is_first[rows, None], away, np.minimum(self.gain[rows], away))
        self._is_first[rows] = False


class Determinantal:
    """Greedy MAP of a determinantal point process: the logarithm of what an item adds to the chosen ones' determinant.

    The Cholesky factor grows by a row with each choice, so that W choices cost O(W² R). An item that the chosen ones
    span adds nothing to it: from there on relevance decides. (Chen, Zhang & Zhou 2018, NeurIPS, algorithm 1; theirs is
    the kernel with q = exp((1 - weight) · relevance / (2 · weight)).)
    """

    def __init__(self, likeness: Floats, choices: int) -> None:
        """Nothing is chosen. `likeness` (B, R, R) holds cosines; at most `choices` are taken."""
        self._likeness = likeness
        self._left = np.diagonal(likeness, axis1=1, axis2=2).copy()  # (B, R) squared distance to the chosen ones' span
        self._factor = np.zeros((len(likeness), choices, likeness.shape[1]), dtype=np.float32)
        self._taken = 0
        self.gain = np.log(np.maximum(self._left, LEAST))

    def take(self, rows: npt.NDArray[np.intp], places: Codes) -> None:
        """See Novelty."""
        known = self._factor[rows, : self._taken]  # (M, taken, R)
        own = np.take_along_axis(known, places[:, None, None], axis=2)
        explained = (own * known).sum(axis=1)
        left = self._left[rows, places][:, None]
        new = np.where(left > LEAST, (self._likeness[rows, places] - explained) / np.sqrt(np.maximum(left, LEAST)), 0.0)
        self._factor[rows, self._taken] = new
        self._taken += 1
        self._left[rows] -= new * new
        self.gain[rows] = np.log(np.maximum(self._left[rows], LEAST))
