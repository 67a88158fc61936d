"""Re-ranking: trade a little relevance for variety."""

from __future__ import annotations

import numpy as np
import torch

from tastemaker.candidates import Codes, Floats


def maximal_marginal_relevance(scores: Floats, unit_vectors: torch.Tensor, n: int, diversity: float) -> Codes:
    """Choose n of R items for each of B users, greedily: relevant, and unlike what is chosen already.

    Each step takes the item with the largest (1 - diversity) · relevance - diversity · (largest cosine with a chosen
    item). Relevance is the score scaled to [0, 1] over the user's R items. (Carbonell & Goldstein 1998, SIGIR)

    Args:
        scores: (B, R), best first; -inf is padding.
        unit_vectors: item vectors of length 1, (B, R, D).
        diversity: in [0, 1]; 0 keeps the order of the scores.

    Returns:
        Places in the list of R, shape (B, min(n, R)), -1 is padding.
    """
    rows, items = scores.shape
    n = min(n, items)
    likeness = torch.bmm(unit_vectors, unit_vectors.transpose(1, 2)).numpy()
    relevance = _scaled(scores, 1.0 - diversity)
    closest = np.zeros_like(relevance)
    chosen = np.full((rows, n), -1, dtype=np.int32)
    every = np.arange(rows)
    for step in range(n):
        pick = np.argmax(relevance - diversity * closest, axis=1)
        real = np.isfinite(relevance[every, pick])
        chosen[real, step] = pick[real]
        near = likeness[every, pick]
        closest = near.copy() if step == 0 else np.maximum(closest, near, out=closest)
        relevance[every, pick] = -np.inf
    return chosen


def _scaled(scores: Floats, highest: float) -> Floats:
    """Each row between 0 and `highest`; padding stays -inf."""
    real = np.isfinite(scores)
    low = np.min(scores, axis=1, keepdims=True, where=real, initial=np.inf)
    high = np.max(scores, axis=1, keepdims=True, where=real, initial=-np.inf)
    scale = np.where(high > low, highest / np.where(high > low, high - low, 1.0), 0.0)
    above = np.subtract(scores, low, where=real, out=np.zeros_like(scores))
    return np.where(real, above * scale, -np.inf).astype(np.float32)
