"""Clicks and requests as they come in, and the articles they are about.

N articles, K columns of context, n clicks, B requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tastemaker.clickstream.decay import Doubles, Ints


@dataclass(frozen=True)
class Articles:
    """What the catalogue knows of N articles."""

    category: Ints  # (N,) codes, 0 is unknown
    created: Doubles  # (N,) seconds since 1970; NaN is unknown


@dataclass(frozen=True)
class Clicks:
    """n clicks, oldest first."""

    ids: Ints  # (n,) a request that was answered before has the id of the click that it led to
    users: Ints  # (n,)
    items: Ints  # (n,)
    times: Doubles  # (n,) seconds since 1970
    context: Ints  # (K, n) codes of device, place and the like
    earlier: list[Ints]  # n times the articles that the session had before, oldest first; none at its start

    @property
    def follows(self) -> Clicks:
        """Those that are not the first of their session."""
        rows = np.flatnonzero([len(each) > 0 for each in self.earlier])
        return Clicks(
            self.ids[rows],
            self.users[rows],
            self.items[rows],
            self.times[rows],
            self.context[:, rows],
            [self.earlier[row] for row in rows.tolist()],
        )

    @property
    def last(self) -> Ints:
        """The article before each click, shape (n,). Every click must have one."""
        return last_of(self.earlier)


@dataclass(frozen=True)
class Requests:
    """B requests of sessions that go on. What they go on to is not told."""

    ids: Ints  # (B,)
    users: Ints  # (B,)
    earlier: list[Ints]  # B times the articles that the session had so far, oldest first, one at least
    context: Ints  # (K, B) of the session's last click
    now: float  # seconds since 1970


def last_of(earlier: list[Ints]) -> Ints:
    """The newest article of each session, shape (B,)."""
    return np.array([each[-1] for each in earlier], dtype=np.int64)
