"""The ranker scores every candidate; the best go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tastemaker.candidates import Candidates, Codes, Floats
from tastemaker.features.cross import cross_features
from tastemaker_serving.models import RankingModel, rows_of

CHUNK = 4
"""Users per pass: the activations of 1,000 candidates of so many stay in the processor's cache. At 1,000 by 256-128-1,
one AVX2 core, float32: 2.4 ms of CPU per user in chunks of 4, 5.5 in one pass of 32; 2.0 with first layer and
activations in place, as the exported rankers have them. (bfloat16 pays only with AVX-512: here its matrix product is
4.5 times slower than float32's.)"""


@dataclass(frozen=True)
class Ranked:
    """The best R candidates of B users, best first: their places in the candidate list, -1 is padding, and scores."""

    places: Codes  # (B, R)
    scores: Floats  # (B, R)


def rank(model: RankingModel, user_vectors: Floats, profiles: Floats, candidates: Candidates, keep: int) -> Ranked:
    """Score C candidates of each of B users and keep the `keep` best.

    Args:
        user_vectors: (B, D). profiles: (B, P).
    """
    if candidates.codes.shape[1] == 0:
        return best(candidates.two_tower, keep)
    logits = np.concatenate(
        [_logits(model, user_vectors[rows], profiles[rows], candidates, rows) for rows in chunks(len(profiles))]
    )
    logits[candidates.codes < 0] = -np.inf
    return best(logits, keep)


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
    scores = np.where(codes >= 0, candidates.two_tower[:, :keep], -np.inf)
    return Ranked(np.where(codes >= 0, places, np.int32(-1)), scores.astype(np.float32))


def chunks(users: int) -> Iterator[slice]:
    """The rows of each pass over a batch."""
    return (slice(start, start + CHUNK) for start in range(0, users, CHUNK))


def _logits(model: RankingModel, user_vectors: Floats, profiles: Floats, candidates: Candidates, rows: slice) -> Floats:
    codes = candidates.codes[rows]
    cross = cross_features(codes, candidates.two_tower[rows], candidates.item_to_item[rows], candidates.recent[rows])
    with torch.inference_mode():
        logits = model.program(
            torch.from_numpy(user_vectors),
            torch.from_numpy(profiles),
            rows_of(model.item_half, codes),  # of padding too, whose score is thrown away
            torch.from_numpy(cross),
        )
    return logits.numpy()
