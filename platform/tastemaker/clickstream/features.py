"""Features of candidates: how fast an article is read, how new it is, and how it goes with the session.

B requests, A candidates, K columns of context, S features of an article, P of a pair, R of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import Floats
from tastemaker.clickstream.candidates import OTHERS, Candidates, Neighbours
from tastemaker.clickstream.clicks import Requests, last_of
from tastemaker.clickstream.decay import Doubles, Ints
from tastemaker.clickstream.state import HOUR, MINUTE, NEAR_LIVES, NEXT_LIVES, VIEW_LIVES, StreamState

TINY = 1e-5
PRIOR = 5.0  # clicks that the prior of a share weighs
NEXT, NEAR = len(NEXT_LIVES), len(NEAR_LIVES)
SPEEDS = ((1, 3), (2, 4), (3, 5))  # pairs of VIEW_LIVES whose ratio tells a rise from a fall
FRESHNESS = (0.25, 1.0, 4.0)  # hours


@dataclass(frozen=True)
class Block:
    """The candidates of B requests."""

    items: Ints  # (A,) sorted
    values: Floats  # (B, A, F)
    allowed: npt.NDArray[np.bool_]  # (B, A) alive, and not read before by the session or the reader


def block_of(candidates: Candidates, requests: Requests) -> Block:
    """Candidates and features of `requests`."""
    state = candidates.state
    following, near = Neighbours(state.next, state.now), Neighbours(state.near, state.now)
    items = candidates.of(requests, following, near)
    where = np.full(state.size, -1)
    where[items] = np.arange(len(items))
    read, reader = _readers(state, requests, items, where, near)
    shares = _shares(state, items)
    session, request = _sessions(requests, where, following, near, shares)
    parts = [
        np.broadcast_to(_articles(state, items, requests.now), (len(requests.ids), len(items), ARTICLE)),
        session,
        reader,
        _contexts(state, requests, items, shares),
        np.broadcast_to(_moments(state, requests, request)[:, None], (len(requests.ids), len(items), REQUEST)),
    ]
    allowed = ~read & state.alive(items, requests.now, requests.life)
    return Block(items, np.concatenate(parts, axis=2, dtype=np.float32), allowed)


def width(state: StreamState) -> int:
    """F, the number of features."""
    return ARTICLE + 2 * (NEXT + NEAR) + NEAR + 2 + 1 + 2 * len(state.bases) + REQUEST


ARTICLE = 30
REQUEST = NEXT + 5
NEXT_SHARE = ARTICLE + NEXT + 2 * NEAR + 1
"""Where the log share of `next` at its second half-life lies: what an untrained ranker goes by."""


def _articles(state: StreamState, items: Ints, now: float) -> Doubles:
    """How fast and how new `items` are, shape (A, S)."""
    views, follows = state.views.at(state.now, items), state.follows.at(state.now, items)
    lives = np.array(VIEW_LIVES)[:, None]
    since = np.clip((now - state.first[items]) / HOUR, -0.05, None)  # -0.05 where there was no click
    created = state.articles.created[items]
    age = np.where(np.isnan(created), since, (now - created) / HOUR)
    # A young article has had no time to fill a long half-life: its rate is over the time that it had.
    lived = 1.02 - np.exp2(-np.clip(since, 0, None) * HOUR / lives)
    rates = np.log((views + 0.2) / lived / lives * HOUR)
    category = state.category_follows.at(state.now)[0]
    rises = [np.log((views[a] + 0.2) / (views[b] + 0.2 * lives[b] / lives[a])) for a, b in SPEEDS]
    features = [
        *np.log(_share(views) + TINY),
        *np.log(_share(follows) + TINY),
        *np.log1p(views[[1, 3]]),
        *rises,
        np.log((follows[2] + 0.3) / (views[3] + 0.6)),
        np.log((follows[3] + 0.3) / (views[4] + 0.6)),
        *rates[2:5],
        np.log(since + 0.1),
        *(np.exp(-np.clip(since, 0, None) / hours) for hours in FRESHNESS),
        np.log(np.clip(age, 0, 200) + 0.5),
        since < 0,
        np.log1p(state.lag_weight(age * HOUR)),
        np.log(_share(category)[state.articles.category[items]] + 1e-3),
        *np.log1p(follows[[1, 3]]),
    ]
    return np.stack(features, axis=1)


def _shares(state: StreamState, items: Ints) -> Doubles:
    """Shares of the candidates in the clicks of about half an hour and of some hours, shape (2, A)."""
    return _share(np.stack([state.views.at(state.now, items)[3], state.follows.at(state.now, items)[3]]))


def _sessions(
    requests: Requests, where: Ints, following: Neighbours, near: Neighbours, shares: Doubles
) -> tuple[Doubles, Doubles]:
    """How candidates go with what the session read, (B, A, 2 · (NEXT + NEAR) + NEAR), and totals (B, NEXT + 1)."""
    batch = len(requests.earlier), shares.shape[1]
    after, beside, others = np.zeros((*batch, NEXT)), np.zeros((*batch, NEAR)), np.zeros((*batch, NEAR))
    totals = np.zeros((batch[0], NEXT + NEAR))
    for row, session in enumerate(requests.earlier):
        if not len(session):
            continue
        last = int(session[-1])
        totals[row] = np.concatenate([_put(after[row], where, following, last), _put(beside[row], where, near, last)])
        for each in session[-1 - OTHERS : -1].tolist():
            _put(others[row], where, near, each, relative=True)
    prior = PRIOR * shares[0][:, None]
    counts = np.concatenate([after, beside], axis=2)
    likely = np.log((counts + prior) / (totals[:, None] + PRIOR) + TINY)
    return np.concatenate([np.log1p(10 * beside), np.log1p(10 * after), np.log1p(100 * others), likely], axis=2), totals


def _readers(
    state: StreamState, requests: Requests, items: Ints, where: Ints, near: Neighbours
) -> tuple[npt.NDArray[np.bool_], Doubles]:
    """What the session or the reader has read, (B, A), and how candidates go with the reader's history, (B, A, 2)."""
    batch = len(requests.earlier), len(items)
    read, fit = np.zeros(batch, dtype=bool), np.zeros((*batch, NEAR))
    taste = np.zeros((*batch, 1))
    category = state.articles.category
    for row, session in enumerate(requests.earlier):
        known = where[session]
        read[row, known[known >= 0]] = True
        current = set(session.tolist())
        history = np.array([each for each in state.history(requests, row) if each not in current], dtype=np.int64)
        if len(history):
            known = where[history]
            read[row, known[known >= 0]] = True
            for each in history[-3:].tolist():
                _put(fit[row], where, near, each, relative=True)
            tastes = np.bincount(category[history], minlength=state.categories)
            taste[row, :, 0] = tastes[category[items]] / (len(history) + 2.0)
    return read, np.log1p(100 * np.concatenate([fit[:, :, 1:], taste], axis=2))


def _contexts(state: StreamState, requests: Requests, items: Ints, shares: Doubles) -> Doubles:
    """Log lifts of candidates in the request's contexts over all, and in its category, (B, A, 2 · (K + 2) + 1)."""
    prior = shares[:, None]
    lifts = []
    for places in state.places(requests.context, requests.earlier):
        counts = state.contexts.at(state.now, places[:, None] + items)
        share = (counts + PRIOR * prior) / (counts.sum(2, keepdims=True) + PRIOR)
        lifts += list(np.log(share + TINY) - np.log(prior + TINY))
    all_pairs = state.category_pairs.at(state.now)[0].reshape(state.categories, -1)
    pairs = all_pairs[state.articles.category_of(last_of(requests.earlier))]
    common = _share(state.category_follows.at(state.now)[0])
    likely = (pairs + 2.0 * common) / (pairs.sum(1, keepdims=True) + 2.0)
    lift = np.log(likely + 1e-4) - np.log(common + 1e-4)
    return np.stack([*lifts, lift[:, state.articles.category[items]]], axis=2)


def _moments(state: StreamState, requests: Requests, totals: Doubles) -> Doubles:
    """What is the same for all candidates of a request, shape (B, R)."""
    moment = np.empty((len(requests.ids), REQUEST))
    moment[:, : NEXT + 1] = np.log1p(totals[:, : NEXT + 1])
    moment[:, NEXT + 1] = np.log([max(len(session), 1) for session in requests.earlier])
    moment[:, NEXT + 2] = np.log1p([len(state.history(requests, row)) for row in range(len(moment))])
    moment[:, NEXT + 3] = np.log1p(max(0.0, requests.now - state.now) / MINUTE)  # how stale the state is
    moment[:, NEXT + 4] = np.log1p(state.views.sums[3].sum() * state.views.clock.fade(state.now)[3])
    return moment


def _put(into: Doubles, where: Ints, neighbours: Neighbours, first: int, relative: bool = False) -> Doubles:
    """Add the counts of what goes with `first` to `into` (A, H), as shares if `relative`; returns their sum (H,).

    `where` (N,) has the place of each candidate; -1 is none.
    """
    found, counts, total = neighbours.of(first)
    places = where[found]
    there = places >= 0
    into[places[there]] += counts[there] / (total + 3.0) if relative else counts[there]
    return total


def _share(counts: Doubles) -> Doubles:
    """`counts` (..., A) over their sum."""
    shares: Doubles = counts / (counts.sum(-1, keepdims=True) + 1e-9)
    return shares
