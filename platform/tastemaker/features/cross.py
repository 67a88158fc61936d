"""What a user and a candidate have to do with one another, computed alike in training and serving.

B users, C candidates each, N items, L history, K neighbours, F = len(CROSS_FEATURES).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.integer[Any]]

SIGNAL_MEANINGS: Final = {
    "two_tower": "inner product of user and item vector",
    "item_to_item": "what the whole history says for the item",
    "recent": "what the newest events say for it",
    "als": "what the factors of alternating least squares say, the history folded in",
    "content": "summed cosine to what was liked lately, by what the items are about",
}
SIGNALS: Final = tuple(SIGNAL_MEANINGS)
"""What the sources say of a candidate, whoever proposed it."""

CROSS_FEATURES: Final = (*SIGNALS, *(f"log_{name}" for name in SIGNALS))
"""Order of the last axis of `cross_features`.

Every signal is there standardised over the user's candidates, since the ranker compares within one list, and as the log
of its place between the user's worst and best candidate: how far from nothing, on any scale. Categories, years and
popularity are not here: crossed with the history by hand they gained nothing over what the ranker knows of both.
"""

PREFERENCE: Final = np.array([0.0, 0.2, 0.4, 0.6, 1.0])
LIKING: Final = np.array([0.0, 0.2, 0.5, 1.0, 1.2])
LOG_SCALE: Final = np.float32(20.0)


@dataclass(frozen=True)
class Memory:
    """How a source forgets: the event of age a (0 is the newest) counts (1 + a) ** -decay."""

    events: int
    decay: float


LASTING: Final = Memory(events=100, decay=0.7)
RECENT: Final = Memory(events=15, decay=0.5)
CONTENT: Final = Memory(events=50, decay=0.5)


def liking(preference: Floats) -> Floats:
    """How much an event of this preference in [-1, 1] speaks for similar items, in [0, 1.2]; same shape.

    A dislike says nothing about neighbours, and a lukewarm event less than its share.
    """
    strength: Floats = np.interp(preference, PREFERENCE, LIKING).astype(np.float32)
    return strength


def item_to_item(
    neighbours: Codes, weights: Floats, history: Codes, preference: Floats, seen: Codes, memory: Memory
) -> Floats:
    """Each item's summed neighbour weight × liking × recency over a user's history, shape (B, N); 0 for items seen.

    Divided by the root of 1 + the summed likings, so that scores of short and long histories are of one size.

    Args:
        neighbours: item-to-item table (N, K), -1 where there are fewer.
        weights: (N, K), 0 where there are fewer.
        history: item codes (B, L), aligned right: newest last, -1 before the oldest.
        preference: (B, L) in [-1, 1].
        seen: item codes (B, S), -1 is padding.
    """
    history, preference = history[:, -memory.events :], preference[:, -memory.events :]
    users, length = history.shape
    items, near = neighbours.shape
    age = np.arange(length, 0, -1, dtype=np.float32)
    votes = np.where(history >= 0, liking(preference) * age ** np.float32(-memory.decay), np.float32(0))
    votes /= np.sqrt(1 + votes.sum(axis=1, keepdims=True))
    # All histories make one sparse matrix: a column per event, which holds the neighbours of its item, and for each
    # user a block of rows, of which the first takes the table's -1. Its product with the votes is one compiled pass.
    block = items + 1
    rows = neighbours[history].astype(np.int32)
    rows += (np.arange(users, dtype=np.int32) * block + 1)[:, None, None]
    starts = np.arange(0, rows.size + 1, near, dtype=np.int32)
    table = sparse.csc_array(
        (weights[history].ravel(), rows.ravel(), starts), shape=(users * block, users * length), copy=False
    )
    scores = (table @ votes.ravel()).reshape(users, block)
    np.put_along_axis(scores, seen + 1, 0, axis=1)
    return scores[:, 1:]


def taste(reads: Floats, history: Codes, preference: Floats, memory: Memory) -> Floats:
    """The sum of what a history's events say through item vectors (N, D), by liking and recency: (B, D).

    Args:
        history: item codes (B, L), newest last, -1 before the oldest. preference: (B, L) in [-1, 1].
    """
    history, preference = history[:, -memory.events :], preference[:, -memory.events :]
    age = np.arange(history.shape[1], 0, -1, dtype=np.float32)
    weight = np.where(history >= 0, liking(preference) * age ** np.float32(-memory.decay), np.float32(0))
    summed: Floats = np.matmul(weight[:, None, :], reads[np.maximum(history, 0)])[:, 0, :]
    return summed


def cross_features(signals: Floats, real: npt.NDArray[np.bool_]) -> Floats:
    """What S sources say of C candidates, as the ranker compares them: (S, B, C) → (B, C, 2 S), by `CROSS_FEATURES`.

    Args:
        real: (B, C), False where the list is padded; such places count for nothing, and their features are meaningless.
    """
    count = np.maximum(np.count_nonzero(real, axis=1, keepdims=True), 1).astype(np.float32)
    features = np.empty((*real.shape, 2 * len(signals)), dtype=np.float32)
    for place, signal in enumerate(signals):
        low = np.min(signal, axis=1, keepdims=True, where=real, initial=np.inf)
        high = np.max(signal, axis=1, keepdims=True, where=real, initial=-np.inf)
        span = np.where(high > low, high - low, np.float32(1))
        features[..., place] = _standardised(signal, real, count)
        share = np.where(real, (signal - np.where(real.any(axis=1, keepdims=True), low, 0)) / span, 0)
        features[..., len(signals) + place] = np.log(1 + LOG_SCALE * share)
    return features


def _standardised(score: Floats, real: npt.NDArray[np.bool_], count: Floats) -> Floats:
    """Each row with mean 0 and variance 1 over its `real` places."""
    centred = np.where(real, score, np.float32(0))
    centred -= centred.sum(axis=1, keepdims=True) / count
    centred *= real
    deviation = np.sqrt(np.einsum("bc,bc->b", centred, centred)[:, None] / count)
    return centred / (deviation + np.float32(1e-6))  # type: ignore[no-any-return]
