"""Offline evaluation: metrics per user, then their mean with an interval.

Each user's newest events are the test; what they liked among them is relevant; items seen before are masked; every item
of the catalogue competes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tastemaker_training.evaluation.slates import Slates
from tastemaker_training.interactions import Floats, Interactions, Split


@dataclass(frozen=True)
class Judgements:
    """What the test holds of V users: their codes and their relevant items."""

    users: npt.NDArray[np.int64]
    relevant: Sequence[npt.NDArray[np.int64]]


def judgements(split: Split, liked: float) -> Judgements:
    """Users with at least one held-out item of preference `liked` or more, and those items."""
    future = split.future
    relevant = []
    for user in range(len(future.user_ids)):
        events = future.of(user)
        relevant.append(np.unique(future.items[events][future.preferences[events] >= liked]))
    users = np.flatnonzero([len(items) > 0 for items in relevant])
    return Judgements(users, [relevant[user] for user in users])


def recall_per_user(slates: Slates, truth: Judgements) -> npt.NDArray[np.float64]:
    """Share of each user's relevant items that the slate holds, shape (V,), in [0, 1]."""
    found = hits(slates, truth.relevant).sum(axis=1)
    recall: npt.NDArray[np.float64] = found / np.array([len(items) for items in truth.relevant])
    return recall


def ndcg_per_user(slates: Slates, truth: Judgements) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain with binary gains (Järvelin & Kekäläinen 2002), shape (V,), in [0, 1]."""
    n = slates.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, n + 2))
    best = np.cumsum(discounts)[[min(len(items), n) - 1 for items in truth.relevant]]
    return hits(slates, truth.relevant) @ discounts / best


def coverage(slates: Slates, items: int) -> float:
    """Share of the catalogue that appears in any slate."""
    return float(len(np.unique(slates[slates >= 0])) / items)


def distance_per_user(slates: Slates, categories: Floats) -> npt.NDArray[np.float64]:
    """Mean pairwise cosine distance between the categories of each slate's items that have some (Ziegler et al. 2005).

    Shape (V,), in [0, 1]; NaN for a slate of fewer than two such items, and for all where the catalogue has fewer than
    two categories, which tell nothing apart.

    Args:
        categories: item × category membership, shape (N, K).
    """
    distances = np.full(len(slates), np.nan)
    if np.count_nonzero(categories.any(axis=0)) < 2:
        return distances
    lengths = np.linalg.norm(categories, axis=1)
    unit, has = categories / np.maximum(lengths, 1e-9)[:, None], lengths > 0
    for row, slate in enumerate(slates):
        vectors = unit[slate[(slate >= 0) & has[slate]]]
        k = len(vectors)
        if k > 1:
            similarity = vectors @ vectors.T
            distances[row] = 1.0 - (similarity.sum() - np.trace(similarity)) / (k * (k - 1))
    return distances


def clicks_per_user(slates: Slates, interacted: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
    """A proxy of the click-through rate: clicks per look, if users looked at places and clicked as in the test; (V,).

    By the position-based model (Craswell et al. 2008) a place is clicked if it is looked at and its item attracts. A
    look at place p has probability 1 / log2(p + 1), the discount of NDCG; an item attracts if the user went on to
    interact with it, whether they liked it or not. What they never came across counts as not attractive, so that the
    figure compares models on one test and foretells no live rate.

    Args:
        interacted: items of each user's held-out events.
    """
    looks = 1.0 / np.log2(np.arange(2, slates.shape[1] + 2))
    clicks: npt.NDArray[np.float64] = hits(slates, interacted) @ looks / looks.sum()
    return clicks


def most_popular(past: Interactions, users: npt.NDArray[np.int64], n: int, liked: float) -> Slates:
    """The `n` most liked items that each of `users` has not seen, shape (V, n)."""
    likes = np.bincount(past.items, weights=past.preferences >= liked, minlength=len(past.item_ids))
    ranking = np.argsort(-likes, kind="stable")
    slates = np.full((len(users), n), -1, dtype=np.int32)
    for row, user in enumerate(users):
        unseen = ranking[~np.isin(ranking, past.items[past.of(user)])][:n]
        slates[row, : len(unseen)] = unseen
    return slates


def hits(slates: Slates, items: Sequence[npt.NDArray[np.integer[Any]]]) -> npt.NDArray[np.bool_]:
    """Which places (V, n) hold one of their user's `items`."""
    found = np.zeros(slates.shape, dtype=bool)
    for row, (slate, wanted) in enumerate(zip(slates, items, strict=True)):
        found[row] = np.isin(slate, wanted)
    return found
