"""What the pipeline answers to requests of the past, and how: what an evaluation learns of it.

B users, N items, n places of a slate, T requests timed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FOREMOST: Final = 0.05
"""Share of the catalogue that one user's candidates count for, at most, in what retrieval reaches. All of them together
would reach a small catalogue whatever is proposed: 1,000 are 42 % of 2,400 items."""


def foremost(items: int) -> int:
    """Candidates of one user that count in what retrieval reaches of so many items."""
    return math.ceil(FOREMOST * items)


@dataclass(frozen=True)
class Replay:
    """The slates of B users, and what came up on the way."""

    slates: npt.NDArray[np.int32]  # (B, n) item codes, best first, -1 where a slate is short
    proposed: npt.NDArray[np.bool_]  # (N,) items that retrieval proposed to some user
    reached: npt.NDArray[np.bool_]  # (N,) of those, items among the foremost of some user: `foremost` of the catalogue
    ranked: npt.NDArray[np.bool_]  # (N,) items in some user's ranked list
    cpu_ms: npt.NDArray[np.float64]  # (T,) CPU time of requests that came one by one, all threads together
