"""Which articles are worth ranking now: what trends at several speeds, what is new, what is read after what.

N articles, B requests, A candidates.
"""

from __future__ import annotations

import numpy as np

from tastemaker.clickstream.clicks import Requests
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.pair_counts import PairCounts
from tastemaker.clickstream.state import HOUR, MINUTE, StreamState

VIEWED = (0, 30, 50, 60, 40, 20)  # most viewed at each of VIEW_LIVES
FOLLOWED = (30, 50, 80, 40)  # most followed at each of FOLLOW_LIVES
NEW = 2 * HOUR  # since the first click
NEWEST, NEW_VIEWED = 15, 40  # new articles: those with the newest first click, the most viewed
NEW_LIFE = 2  # at which of VIEW_LIVES
UNSEEN = 15  # articles of the catalogue without any click
UNSEEN_AGE = 12 * HOUR
AFTER_LAST, AFTER_OTHERS, OTHERS = 20, 8, 3  # articles read after the last click, and near each of the others
LIVE = 1500  # most viewed articles of a day, among which the lists above are made
LIVE_SECONDS = MINUTE / 3  # between two looks at all articles


class Neighbours:
    """Rows of pair counts, each read once for a batch of requests."""

    def __init__(self, pairs: PairCounts, now: float) -> None:
        self.pairs, self.now = pairs, now
        self.rows: dict[int, tuple[Ints, Doubles, Doubles]] = {}

    def of(self, first: int) -> tuple[Ints, Doubles, Doubles]:
        """Items (m,), their counts (m, H) and the counts' sum (H,)."""
        if first not in self.rows:
            items, counts = self.pairs.of(first, self.now)
            self.rows[first] = items, counts, counts.sum(0)
        return self.rows[first]

    def best(self, first: int, n: int) -> Ints:
        """The n items that most go with `first`."""
        items, counts, _ = self.of(first)
        return _best(items, counts.sum(1), n)


class Candidates:
    """The candidates of batches of requests, from the state of a stream."""

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self.live: Ints = np.empty(0, dtype=np.int64)
        self.new: Ints = self.live
        self.looked = -np.inf
        self.reorder()

    def reorder(self) -> None:
        """Go by the times of creation that the state knows now."""
        created = self.state.articles.created
        known = np.flatnonzero(~np.isnan(created))
        self.by_age: Ints = known[np.argsort(created[known], kind="stable")]
        self.created: Doubles = created[self.by_age]

    def of(self, requests: Requests, following: Neighbours, near: Neighbours) -> Ints:
        """The candidates (A,) for all `requests` together, sorted."""
        found = [*self._trending(requests.now), self._unseen(requests.now)]
        for session in requests.earlier:
            if not len(session):
                continue
            last = int(session[-1])
            found += [following.best(last, AFTER_LAST), near.best(last, AFTER_LAST)]
            found += [near.best(each, AFTER_OTHERS) for each in session[-1 - OTHERS : -1].tolist()]
        return np.unique(np.concatenate(found))

    def _trending(self, now: float) -> list[Ints]:
        state = self.state
        if now - self.looked >= LIVE_SECONDS:
            self.looked = now
            self.new = np.flatnonzero(np.isfinite(state.first) & (state.first > now - NEW))
            self.live = np.union1d(_best(np.arange(state.size), state.views.sums[-1], LIVE), self.new)
        views, follows = state.views.at(state.now, self.live), state.follows.at(state.now, self.live)
        lists = [_best(self.live, row, n) for row, n in zip([*views, *follows], VIEWED + FOLLOWED, strict=True)]
        viewed = state.views.at(state.now, self.new)[NEW_LIFE]
        return [*lists, _best(self.new, state.first[self.new], NEWEST), _best(self.new, viewed, NEW_VIEWED)]

    def _unseen(self, now: float) -> Ints:
        """New articles without clicks, of an age at which articles tend to get their first."""
        low, high = np.searchsorted(self.created, [now - UNSEEN_AGE, now])
        new = self.by_age[low:high]
        new = new[np.isinf(self.state.first[new])]
        return _best(new, self.state.lag_weight(now - self.state.articles.created[new]), UNSEEN)


def _best(items: Ints, values: Doubles, n: int) -> Ints:
    """The n of `items` (m,) with the highest `values` (m,) that are above 0."""
    if len(items) > n:
        places = np.argpartition(-values, n)[:n]
        items, values = items[places], values[places]
    return items[values > 0]
