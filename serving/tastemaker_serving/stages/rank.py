"""The ranker scores every candidate; the best go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tastemaker.candidates import Candidates, Codes, Floats, Mask
from tastemaker.features.cross import SIGNALS, cross_features
from tastemaker.space import rows_of
from tastemaker_serving.models import RankingModel

TWO_TOWER = SIGNALS.index("two_tower")
CHUNK = 4
"""Users per pass: the activations of 1,000 candidates of so many stay in the processor's cache. At 1,000 by 256-128-1,
one AVX2 core, float32: 2.4 ms of CPU per user in chunks of 4, 5.5 in one pass of 32; 2.0 with first layer and
activations in place, as the exported rankers have them. (bfloat16 pays only with AVX-512: here its matrix product is
4.5 times slower than float32's.)"""

SMALLEST = 1e-7
"""Probabilities nearer than this to 0 or 1 are no longer told apart."""


@dataclass(frozen=True)
class Ranked:
    """The best R candidates of B users, best first: their places in the candidate list, -1 is padding, and scores.

    The ranker's scores are probabilities of what its heads stand for, averaged by `funnel.head_weights`.
    """

    places: Codes  # (B, R)
    scores: Floats  # (B, R)

    def head(self, keep: int) -> Ranked:
        """The best `keep`."""
        return Ranked(self.places[:, :keep], self.scores[:, :keep])

    def where(self, chosen: Mask, other: Ranked) -> Ranked:
        """These of the users that are `chosen` (B,), the `other` of the rest."""
        places = np.where(chosen[:, None], self.places, other.places)
        return Ranked(places, np.where(chosen[:, None], self.scores, other.scores))


def rank(model: RankingModel, user_vectors: Floats, profiles: Floats, candidates: Candidates, keep: int) -> Ranked:
    """Score C candidates of each of B users and keep the `keep` best.

    Args:
        user_vectors: (B, D). profiles: (B, P).
    """
    if candidates.codes.shape[1] == 0:
        return best(candidates.signals[TWO_TOWER], keep)
    scores = np.concatenate(
        [_scores(model, user_vectors[rows], profiles[rows], candidates, rows) for rows in chunks(len(profiles))]
    )
    scores[candidates.codes < 0] = -np.inf
    return best(scores, keep)


def score(
    model: RankingModel, user_vectors: torch.Tensor, profiles: torch.Tensor, halves: torch.Tensor, cross: torch.Tensor
) -> torch.Tensor:
    """Scores (B, C) of what the ranker's program takes."""
    return model.program(user_vectors, profiles, halves, cross) @ model.weights


def worth(ranked: Ranked, by_ranker: Mask) -> Floats:
    """What re-ranking compares (B, R): log-odds where the ranker scored a user's items, else their order; `by_ranker`
    (B,) says for whom it did."""
    if by_ranker.all():
        return log_odds(ranked)
    order = np.where(ranked.places >= 0, -np.arange(ranked.places.shape[1], dtype=np.float32), np.float32(-np.inf))
    return np.where(by_ranker[:, None], log_odds(ranked), order).astype(np.float32)


def log_odds(ranked: Ranked) -> Floats:
    """The scores (B, R) on a scale where the best do not crush the rest."""
    real = ranked.places >= 0
    chance = np.where(real, ranked.scores, 0.5).clip(SMALLEST, 1 - SMALLEST)
    return np.where(real, np.log(chance / (1 - chance)), -np.inf).astype(np.float32)


def best(scores: Floats, keep: int) -> Ranked:
    """The places of the `keep` largest of `scores` (B, C); -inf marks padding."""
    keep = min(keep, scores.shape[1])
    places = np.argpartition(-scores, keep - 1, axis=1)[:, :keep] if keep else np.empty((len(scores), 0), dtype=np.intp)
    chosen = np.take_along_axis(scores, places, axis=1)
    order = np.argsort(-chosen, axis=1, kind="stable")
    places = np.take_along_axis(places, order, axis=1).astype(np.int32)
    chosen = np.take_along_axis(chosen, order, axis=1)
    return Ranked(np.where(np.isneginf(chosen), np.int32(-1), places), chosen)


def retrieval_order(candidates: Candidates, keep: int) -> Ranked:
    """The first `keep` candidates as retrieval ordered them: what is left when the ranker is away."""
    codes = candidates.codes[:, :keep]
    places = np.broadcast_to(np.arange(codes.shape[1], dtype=np.int32), codes.shape)
    scores = np.where(codes >= 0, candidates.signals[TWO_TOWER, :, :keep], -np.inf)
    return Ranked(np.where(codes >= 0, places, np.int32(-1)), scores.astype(np.float32))


def chunks(users: int) -> Iterator[slice]:
    """The rows of each pass over a batch."""
    return (slice(start, start + CHUNK) for start in range(0, users, CHUNK))


def _scores(model: RankingModel, user_vectors: Floats, profiles: Floats, candidates: Candidates, rows: slice) -> Floats:
    codes = candidates.codes[rows]
    cross = cross_features(candidates.signals[:, rows], codes >= 0)
    with torch.inference_mode():
        scores = score(
            model,
            torch.from_numpy(user_vectors),
            torch.from_numpy(profiles),
            rows_of(model.item_half, codes),  # of padding too, whose score is thrown away
            torch.from_numpy(cross),
        )
    return scores.numpy()
