"""Models of a stream of clicks, by name.

N articles, B requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tastemaker.clickstream.clicks import Articles, Clicks, Requests
from tastemaker.clickstream.decay import DecayedCounts, Doubles, Ints
from tastemaker.clickstream.pair_counts import PairCounts
from tastemaker.clickstream.ranker import StreamRanker, StreamRecipe
from tastemaker.clickstream.replay import StreamModel
from tastemaker.clickstream.state import MINUTE, StreamState

TREND = 15 * MINUTE  # half-life of popularity
LINK = 30 * MINUTE  # half-life of transitions
NEWEST = 500  # articles that content looks at


class Popularity:
    """What is clicked most now: decayed counts."""

    def __init__(self, articles: Articles) -> None:
        self.counts = DecayedCounts(len(articles.category), (TREND,))

    def absorb(self, clicks: Clicks) -> None:
        """Count `clicks`."""
        self.counts.add(clicks.items, clicks.times)

    def rank(self, requests: Requests, places: int) -> Ints:
        """The most clicked articles."""
        popular = self.popular(places + _longest(requests))
        return np.array([_slate(popular, session, places) for session in requests.earlier])

    def popular(self, n: int) -> list[int]:
        """The n most clicked articles, best first."""
        counts = self.counts.sums[0]
        best = _highest(counts, n)
        clicked: list[int] = best[counts[best] > 0].tolist()
        return clicked


class Transition:
    """What is clicked most after the session's last click: decayed counts of pairs; then what is clicked most."""

    def __init__(self, articles: Articles) -> None:
        self.popularity = Popularity(articles)
        self.pairs = PairCounts((LINK,))

    def absorb(self, clicks: Clicks) -> None:
        """Count `clicks`, and what they followed."""
        self.popularity.absorb(clicks)
        follows = clicks.follows
        if len(follows.items):
            self.pairs.add(follows.last, follows.items, follows.times)

    def rank(self, requests: Requests, places: int) -> Ints:
        """The articles most read after the last one, then the most clicked."""
        popular = self.popularity.popular(places + _longest(requests))
        slates = []
        for session in requests.earlier:
            items, counts = self.pairs.of(int(session[-1]), requests.now)
            after = items[_highest(counts[:, 0], places + len(session))].tolist()
            slates.append(_slate([*after, *popular], session, places))
        return np.array(slates)


class Content:
    """The newest articles of the category that the session is at, then the newest of all."""

    def __init__(self, articles: Articles) -> None:
        self.articles = articles
        self.born: Doubles = np.where(np.isnan(articles.created), np.inf, articles.created)

    def absorb(self, clicks: Clicks) -> None:
        """Note when articles came up whose time of creation is not known."""
        np.minimum.at(self.born, clicks.items, clicks.times)

    def rank(self, requests: Requests, places: int) -> Ints:
        """New articles, those of the last click's category first."""
        newest = _highest(np.where(self.born <= requests.now, self.born, -np.inf), NEWEST)
        newest = newest[self.born[newest] <= requests.now]
        category = self.articles.category
        slates = []
        for session in requests.earlier:
            order = np.argsort(category[newest] != category[session[-1]], kind="stable")
            slates.append(_slate(newest[order].tolist(), session, places))
        return np.array(slates)


def hybrid(articles: Articles, contexts: Ints, seed: int) -> StreamModel:
    """All that the stream tells, blended by a ranker that goes on learning."""
    return StreamRanker(StreamState(articles, contexts), StreamRecipe(), seed)


MODELS: dict[str, Callable[[Articles, Ints, int], StreamModel]] = {
    "popularity": lambda articles, contexts, seed: Popularity(articles),
    "transition": lambda articles, contexts, seed: Transition(articles),
    "content": lambda articles, contexts, seed: Content(articles),
    "hybrid": hybrid,
}


def _longest(requests: Requests) -> int:
    return max(len(session) for session in requests.earlier)


def _highest(values: Doubles, n: int) -> Ints:
    """Where the n highest of `values` (m,) are, highest first."""
    places = np.argpartition(-values, n)[:n] if n < len(values) else np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]


def _slate(ranked: Iterable[int], session: Ints, places: int) -> list[int]:
    """The first `places` of `ranked` that `session` has not had, each once; -1 fills up."""
    seen = set(session.tolist())
    slate = [item for item in dict.fromkeys(ranked) if item not in seen][:places]
    return slate + [-1] * (places - len(slate))
