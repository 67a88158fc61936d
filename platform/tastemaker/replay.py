"""What the pipeline answers to requests of the past, and how: what an evaluation learns of it.

B users, N items, n places of a slate, T requests timed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Replay:
    """The slates of B users, and what came up on the way."""

    slates: npt.NDArray[np.int32]  # (B, n) item codes, best first, -1 where a slate is short
    proposed: npt.NDArray[np.bool_]  # (N,) items that retrieval proposed to some user
    ranked: npt.NDArray[np.bool_]  # (N,) items in some user's ranked list
    cpu_ms: npt.NDArray[np.float64]  # (T,) CPU time of requests that came one by one, all threads together
