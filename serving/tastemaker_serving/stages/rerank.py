"""Re-ranking: the slate is chosen item by item. Hard rules say which items may come, relevance and variety which does.

B users, R items of the list, K categories of an item, n places of the slate. A code or place of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import Codes, Floats, Mask
from tastemaker_serving.stages.diversity import Novelty


class Quota:
    """At most `most` items of each group; an item may be of several groups."""

    def __init__(self, groups: Codes, most: int) -> None:
        """Nothing is taken. `groups` (B, R, K) holds codes, -1 where an item has fewer than K."""
        self._groups = groups
        self._most = most
        self._taken = np.zeros((len(groups), int(groups.max(initial=-1)) + 2), dtype=np.int32)

    def take(self, rows: npt.NDArray[np.intp], places: Codes) -> None:
        """Count the items at `places` (M,) of the users `rows` (M,)."""
        np.add.at(self._taken, (rows[:, None], self._groups[rows, places]), 1)
        self._taken[:, -1] = 0  # the spare column took what is of no group

    def full(self) -> Mask:
        """Which items (B, R) are of a group that has as many as it may."""
        every = np.arange(len(self._groups))[:, None, None]
        full: Mask = np.any(self._taken[every, self._groups] >= self._most, axis=2)
        return full


def choose(relevance: Floats, novelty: Novelty | None, weight: float, quotas: Sequence[Quota], pinned: Codes) -> Codes:
    """Choose n of R items for each of B users, greedily.

    Each place takes the pinned item or else, of those that no quota refuses, the one with the largest
    (1 - weight) · relevance + weight · novelty. Pinned items count in their quotas from the start, and come whatever
    these say. Where items run out the slate ends; items pinned to later places move up.

    Args:
        relevance: (B, R), -inf for what must not come unless it is pinned.
        novelty: None: variety does not count.
        weight: of variety, in [0, 1].
        pinned: which item of the list stands at each place (B, n), -1 where none is pinned.

    Returns:
        Places in the list of R, shape (B, n).
    """
    users, n = pinned.shape
    chosen = np.full((users, n), -1, dtype=np.int32)
    if relevance.shape[1] == 0:
        return chosen
    share = np.float32(1.0 if novelty is None else 1.0 - weight)
    value = np.multiply(relevance, share, where=np.isfinite(relevance), out=np.full_like(relevance, -np.inf))
    for step in range(n):
        rows = np.flatnonzero(pinned[:, step] >= 0)
        value[rows, pinned[rows, step]] = -np.inf  # kept for its place
        for quota in quotas if len(rows) else ():
            quota.take(rows, pinned[rows, step])
    for step in range(n):
        worth = value if novelty is None else value + np.float32(weight) * novelty.gain
        for quota in quotas:
            worth = np.where(quota.full(), -np.inf, worth)
        best = worth.argmax(axis=1).astype(np.int32)
        is_pinned = pinned[:, step] >= 0
        best = np.where(is_pinned, pinned[:, step], best)
        rows = np.flatnonzero(is_pinned | np.isfinite(worth[np.arange(users), best]))
        if len(rows) == 0:
            continue
        places = best[rows]
        chosen[rows, step] = places
        value[rows, places] = -np.inf
        if novelty is not None:
            novelty.take(rows, places)
        free = ~is_pinned[rows]
        for quota in quotas:
            quota.take(rows[free], places[free])
    return np.take_along_axis(chosen, np.argsort(chosen < 0, axis=1, kind="stable"), axis=1)
