"""Slates of the best unseen items, made for some users at a time: memory does not grow with users times items.

V users, B of a pass, N items, n places.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Slates = npt.NDArray[np.int32]
"""(V, n) item codes, best first, -1 where a slate is short."""

MOST_USERS = 1_024
"""Of a pass. The exported user tower takes 4,096 at once."""
MOST_SCORES = 2**26
"""Of a pass: 256 MB."""


def passes(users: int, items: int) -> Iterator[slice]:
    """Parts of so many users, whose scores of all items may be in memory at once."""
    size = max(1, min(MOST_USERS, MOST_SCORES // max(items, 1)))
    return (slice(start, min(start + size, users)) for start in range(0, users, size))


def best_unseen(scores: Tensor, rows: npt.NDArray[np.int64], seen: npt.NDArray[np.integer], n: int) -> Slates:
    """The n items (B, n) of the highest `scores` (B, N) without those that were seen, which are struck out in place.

    Args:
        rows: for each event of the users that item `seen` was part of, the user's row; both of one length.
    """
    scores[torch.from_numpy(rows), torch.from_numpy(seen).long()] = -torch.inf
    top = scores.topk(min(n, scores.shape[1]), dim=1)
    slates = np.full((len(scores), n), -1, dtype=np.int32)
    slates[:, : top.indices.shape[1]] = torch.where(top.values > -torch.inf, top.indices, -1).cpu().numpy()
    return slates
