"""Small interactions for tests."""

from __future__ import annotations

import numpy as np

from tastemaker_training.interactions import Interactions


def interactions_of(*histories: list[int], items: int, preference: float = 0.6) -> Interactions:
    """One user for each list of item codes, oldest first."""
    codes = np.concatenate([np.array(history, dtype=np.int64) for history in histories])
    return Interactions(
        user_ids=[f"u{user}" for user in range(len(histories))],
        item_ids=[f"i{item}" for item in range(items)],
        offsets=np.cumsum([0, *map(len, histories)]),
        items=codes,
        preferences=np.full(len(codes), preference, dtype=np.float32),
        timestamps=np.arange(len(codes)),
    )
