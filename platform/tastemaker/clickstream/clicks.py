"""Clicks and requests as they come in, and the articles they are about.

N articles, K columns of context, n clicks, B requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tastemaker.clickstream.decay import Doubles, Ints


@dataclass(frozen=True)
class Articles:
    """What the catalogue knows of N articles."""

    category: Ints  # (N,) codes, 0 is unknown
    created: Doubles  # (N,) seconds since 1970; NaN is unknown

    def category_of(self, articles: Ints) -> Ints:
        """Categories of `articles` (any shape), of which -1 is none."""
        return np.where(articles >= 0, self.category[articles], 0)


@dataclass(frozen=True)
class Clicks:
    """n clicks, oldest first."""

    ids: Ints  # (n,) a request that was answered before has the id of the click that it led to
    users: Ints  # (n,)
    items: Ints  # (n,)
    times: Doubles  # (n,) seconds since 1970
    context: Ints  # (K, n) codes of device, place and the like
    earlier: list[Ints]  # n times the articles that the session had before, oldest first; none at its start

    def rows(self, rows: Ints) -> Clicks:
        """Some of them."""
        return Clicks(
            self.ids[rows],
            self.users[rows],
            self.items[rows],
            self.times[rows],
            self.context[:, rows],
            [self.earlier[row] for row in rows.tolist()],
        )

    @property
    def follows(self) -> Clicks:
        """Those that are not the first of their session."""
        return self.rows(np.flatnonzero([len(each) > 0 for each in self.earlier]))

    @property
    def last(self) -> Ints:
        """The article before each click, shape (n,). Every click must have one."""
        return last_of(self.earlier)


@dataclass(frozen=True)
class Requests:
    """B requests. What their sessions go on to is not told."""

    ids: Ints  # (B,)
    users: Ints  # (B,)
    earlier: list[Ints]  # B times the articles that the session had so far, oldest first; none at its start
    context: Ints  # (K, B) of the session's last click
    now: float  # seconds since 1970
    histories: list[Ints] | None = None  # B times what the reader had read, oldest first; None: as the stream tells
    life: float = math.inf  # seconds after which an article that nobody reads any more is too old


def last_of(earlier: list[Ints]) -> Ints:
    """The newest article of each session, shape (B,); -1 where it has none."""
    return np.array([each[-1] if len(each) else -1 for each in earlier], dtype=np.int64)
