"""Decayed counts of pairs of items: what is read after what, or with what, as a stream tells it.

One row per item that has been a first half, each a growing array, so that a row is read as a whole without a search.
H half-lives, n pairs, m entries of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tastemaker.clickstream.decay import Clock, Doubles, Ints

FADED = 0.01
"""Pairs whose count is below this at every half-life are forgotten now and then."""


class Row:
    """The second halves of one item; the first len(places) rows of both arrays are in use."""

    def __init__(self, half_lives: int) -> None:
        self.places: dict[int, int] = {}
        self.items: Ints = np.zeros(4, dtype=np.int64)
        self.sums: Doubles = np.zeros((4, half_lives))

    def add(self, item: int, weight: Doubles) -> None:
        """Add `weight` (H,) to the pair with `item`."""
        place = self.places.setdefault(item, len(self.places))
        if place == len(self.items):
            room = place + 4
            self.items = np.concatenate([self.items, np.zeros(room, dtype=np.int64)])
            self.sums = np.concatenate([self.sums, np.zeros((room, self.sums.shape[1]))])
        self.items[place] = item
        self.sums[place] += weight

    def rescale(self, factor: Doubles) -> None:
        """Multiply all sums by `factor` (H,), and forget what has faded."""
        used = len(self.places)
        sums = self.sums[:used] * factor
        kept = (sums >= FADED).any(1)
        self.items, self.sums = self.items[:used][kept], sums[kept]
        self.places = {item: place for place, item in enumerate(self.items.tolist())}


class PairCounts:
    """Decayed counts of (first, second) at H half-lives."""

    def __init__(self, half_lives: Sequence[float]) -> None:
        self.clock = Clock(half_lives)
        self.rows: dict[int, Row] = {}

    def add(self, firsts: Ints, seconds: Ints, times: Doubles) -> None:
        """Count pairs (n,) at `times` (n,), seconds, oldest first."""
        if len(firsts) == 0:
            return
        factor = self.clock.advance(float(times[-1]))
        if factor is not None:
            for row in self.rows.values():
                row.rescale(factor)
            self.rows = {first: row for first, row in self.rows.items() if row.places}
        width = len(self.clock.half_lives)
        for first, second, weight in zip(firsts.tolist(), seconds.tolist(), self.clock.weights(times).T, strict=True):
            if first not in self.rows:
                self.rows[first] = Row(width)
            self.rows[first].add(second, weight)

    def of(self, first: int, now: float) -> tuple[Ints, Doubles]:
        """What goes with `first`: items (m,) and their counts at time `now`, shape (m, H)."""
        row = self.rows.get(first)
        if row is None:
            return np.empty(0, dtype=np.int64), np.zeros((0, len(self.clock.half_lives)))
        used = len(row.places)
        return row.items[:used], row.sums[:used] * self.clock.fade(now)
