"""Counts that fade with time, at several half-lives at once.

By forward decay (Cormode et al. 2009): an event at time s adds 2^((s - L) / h) for a fixed landmark L, and the decayed
count at time t is the sum times 2^((L - t) / h). So adding is one addition, and nothing has to be aged.

H half-lives, N items, n events.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

SPAN = 100.0
"""Half-lives after which the landmark moves up: 2^100 is far from the largest double, 2^1023."""


class Clock:
    """The weights of events at H half-lives, in seconds."""

    def __init__(self, half_lives: Sequence[float]) -> None:
        self.half_lives: Doubles = np.array(half_lives, dtype=np.float64)
        self.landmark = -np.inf

    def advance(self, now: float) -> Doubles | None:
        """Move the landmark where `now` is far from it; then all sums must be multiplied by the answer, shape (H,)."""
        if now - self.landmark < SPAN * self.half_lives.min():
            return None
        factor = self.fade(now)
        self.landmark = now
        return factor

    def weights(self, times: Doubles) -> Doubles:
        """What events at `times` (n,) add, shape (H, n)."""
        weights: Doubles = np.exp2((times - self.landmark) / self.half_lives[:, None])
        return weights

    def fade(self, now: float) -> Doubles:
        """What sums are worth at time `now`, shape (H,)."""
        fade: Doubles = np.exp2((self.landmark - now) / self.half_lives)
        return fade


class DecayedCounts:
    """Decayed counts of N items at H half-lives: the trending list of a stream."""

    def __init__(self, items: int, half_lives: Sequence[float]) -> None:
        self.clock = Clock(half_lives)
        self.sums: Doubles = np.zeros((len(half_lives), items))

    def add(self, items: Ints, times: Doubles) -> None:
        """Count an event of each of `items` (n,) at `times` (n,), seconds, oldest first."""
        if len(items) == 0:
            return
        factor = self.clock.advance(float(times[-1]))
        if factor is not None:
            self.sums *= factor[:, None]
        for row, weights in zip(self.sums, self.clock.weights(times), strict=True):
            np.add.at(row, items, weights)

    def grow(self, more: int, groups: int = 1) -> None:
        """Make room for `more` items behind the others, in each of `groups` equal parts of the N."""
        parts = self.sums.reshape(len(self.sums), groups, -1)
        self.sums = np.pad(parts, ((0, 0), (0, 0), (0, more))).reshape(len(self.sums), -1)

    def at(self, now: float, items: Ints | slice = slice(None)) -> Doubles:
        """The counts of `items` (any shape; all N by default) as they are at time `now`, shape (H, *items.shape)."""
        counts = self.sums[:, items]
        return counts * self.clock.fade(now).reshape(-1, *[1] * (counts.ndim - 1))
