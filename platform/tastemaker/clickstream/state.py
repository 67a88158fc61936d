"""What a stream of clicks tells of articles, readers and pairs of articles. All of it fades; nothing is refitted.

N articles, K columns of context, n clicks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from tastemaker.clickstream.clicks import Articles, Clicks, Requests, last_of
from tastemaker.clickstream.decay import DecayedCounts, Doubles, Ints
from tastemaker.clickstream.pair_counts import PairCounts

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
VIEW_LIVES = (2.5 * MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR, 4 * HOUR, DAY)
FOLLOW_LIVES = (3 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR)
CONTEXT_LIVES = (20 * MINUTE, 4 * HOUR)
NEXT_LIVES = (8 * MINUTE, 30 * MINUTE, 4 * HOUR, 2 * DAY)
NEAR_LIVES = (2 * HOUR, DAY)
WINDOW = 4  # clicks between two of a session that still count as a pair
HISTORY = 50  # newest clicks that are kept of a reader
READERS = 1_000_000  # whose clicks are kept, those who read last
DEPTHS = 4  # first, second, third and later clicks of a session are told apart
LAG = 5 * MINUTE  # width of the bins of age at the first click
LAGS = 400


class StreamState:
    """Decayed counts of everything that a ranker of fresh articles looks at."""

    def __init__(self, articles: Articles, contexts: Ints) -> None:
        """Start empty. `contexts` (K,) has the number of values of each column of context."""
        self.articles = articles
        self.size, self.categories = len(articles.category), int(articles.category.max()) + 1
        # How deep the session is and the category it is at are context too.
        widths = np.concatenate([contexts, [DEPTHS, self.categories]])
        self.bases: Ints = np.cumsum(widths) - widths
        self.views = DecayedCounts(self.size, VIEW_LIVES)
        self.follows = DecayedCounts(self.size, FOLLOW_LIVES)  # clicks that are not the first of their session
        self.contexts = DecayedCounts(int(widths.sum()) * self.size, CONTEXT_LIVES)
        self.category_pairs = DecayedCounts(self.categories**2, (12 * HOUR,))
        self.category_follows = DecayedCounts(self.categories, (2 * HOUR,))
        self.next = PairCounts(NEXT_LIVES)  # from each click of a session to the one after it
        self.near = PairCounts(NEAR_LIVES)  # both ways between clicks of a session
        self.lags = DecayedCounts(LAGS, (2 * DAY,))  # first clicks by the age of the article
        self.first: Doubles = np.full(self.size, np.inf)  # (N,) time of the first click
        self.last: Doubles = np.full(self.size, -np.inf)  # (N,) time of the newest click
        self.histories: dict[int, list[int]] = {}
        self.now = 0.0  # of the newest click

    def absorb(self, clicks: Clicks) -> None:
        """Learn from `clicks`, oldest first; some may come late."""
        if len(clicks.items) == 0:
            return
        self.now = max(self.now, float(clicks.times[-1]))
        self._note_first(clicks)
        np.maximum.at(self.last, clicks.items, clicks.times)
        self.views.add(clicks.items, clicks.times)
        for user, item in zip(clicks.users.tolist(), clicks.items.tolist(), strict=True):
            history = self.histories.pop(user, [])
            history.append(item)
            del history[:-HISTORY]
            self.histories[user] = history  # at the end: who read last
        while len(self.histories) > READERS:
            del self.histories[next(iter(self.histories))]
        self._follow(clicks.follows)

    def forget(self, users: Collection[int]) -> None:
        """Know nothing any more of what these readers read. What articles and pairs have of it fades."""
        for user in users:
            self.histories.pop(user, None)

    def grow(self, articles: Articles) -> None:
        """Know these `articles` from now on: those known so far, described as they are now, and more behind them.

        A category that was unknown at the start stays so.
        """
        more = len(articles.category) - self.size
        if more > 0:
            for counts in (self.views, self.follows):
                counts.grow(more)
            self.contexts.grow(more, len(self.contexts.sums[0]) // self.size)
            self.first = np.pad(self.first, (0, more), constant_values=np.inf)
            self.last = np.pad(self.last, (0, more), constant_values=-np.inf)
            self.size += more
        known = articles.category < self.categories
        self.articles = Articles(np.where(known, articles.category, 0), articles.created)

    def alive(self, items: Ints, now: float, life: float) -> npt.NDArray[np.bool_]:
        """Which of `items` (A,) came out, or were read, in the last `life` seconds before `now`."""
        newest = np.fmax(self.last[items], self.articles.created[items])  # NaN is unknown
        alive: npt.NDArray[np.bool_] = newest >= now - life
        return alive

    def history(self, requests: Requests, row: int) -> Sequence[int] | Ints:
        """What the reader of a request had read, oldest first."""
        if requests.histories is not None:
            return requests.histories[row][-HISTORY:]
        return self.histories.get(int(requests.users[row]), ())

    def places(self, context: Ints, earlier: list[Ints]) -> Ints:
        """Where the counts of each context begin in `contexts`, shape (K + 2, n), for sessions `earlier` (n)."""
        depth = np.clip([len(each) - 1 for each in earlier], 0, DEPTHS - 1)
        whole = np.concatenate([context, [depth, self.articles.category_of(last_of(earlier))]])
        places: Ints = (self.bases[:, None] + whole) * self.size
        return places

    def lag_weight(self, ages: Doubles) -> Doubles:
        """How many first clicks come at these ages (any shape, seconds; NaN is unknown) per `LAG`."""
        known = (ages >= 0) & (ages < LAG * LAGS)
        bins = np.where(known, ages, 0.0) // LAG
        return np.where(known, self.lags.at(self.now)[0][bins.astype(np.int64)], 0.0)

    def _note_first(self, clicks: Clicks) -> None:
        items, rows = np.unique(clicks.items, return_index=True)
        fresh = np.isinf(self.first[items])
        items, rows = items[fresh], np.sort(rows[fresh])
        items, times = clicks.items[rows], clicks.times[rows]
        self.first[items] = times
        ages = times - self.articles.created[items]
        known = (ages >= 0) & (ages < LAG * LAGS)
        self.lags.add((ages[known] // LAG).astype(np.int64), times[known])

    def _follow(self, clicks: Clicks) -> None:
        if len(clicks.items) == 0:
            return
        last, items, times = clicks.last, clicks.items, clicks.times
        self.follows.add(items, times)
        self.next.add(last, items, times)
        for places in self.places(clicks.context, clicks.earlier):
            self.contexts.add(places + items, times)
        category = self.articles.category
        self.category_pairs.add(category[last] * self.categories + category[items], times)
        self.category_follows.add(category[items], times)
        near = [each[-WINDOW:] for each in clicks.earlier]
        before, repeats = np.concatenate(near), [len(each) for each in near]
        after, when = np.repeat(items, repeats), np.repeat(times, repeats)
        self.near.add(np.concatenate([before, after]), np.concatenate([after, before]), np.tile(when, 2))
