"""Relevance as re-ranking weighs it: the ranker's scores on a scale of their own, and what is added to them.

B users, R items of the list, N items. Zero is the user's worst ranked item and one the best, so that additions mean the
same whatever scores are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import Codes, Floats
from tastemaker.scenes import Freshness, Repetition

HOUR_S = 3600.0


def scaled(scores: Floats) -> Floats:
    """Each row of `scores` (B, R) between 0 and 1; padding, -inf, stays. Where all are equal they are 0."""
    real = np.isfinite(scores)
    low = np.min(scores, axis=1, keepdims=True, where=real, initial=np.inf)
    high = np.max(scores, axis=1, keepdims=True, where=real, initial=-np.inf)
    scale = np.where(high > low, 1.0 / np.where(high > low, high - low, 1.0), 0.0)
    above = np.subtract(scores, low, where=real, out=np.zeros_like(scores))
    return np.where(real, above * scale, -np.inf).astype(np.float32)


def freshness(published: npt.NDArray[np.float64], now: float, fresh: Freshness) -> Floats:
    """What youth adds: `boost` at publication, halved with each half-life; 0 where `published` (seconds) is NaN."""
    age_h = np.maximum(now - published, 0.0) / HOUR_S
    return np.nan_to_num(fresh.boost * 0.5 ** (age_h / fresh.half_life_h)).astype(np.float32)


def repetition(codes: Codes, shown: Codes, slate: Codes, repeats: Repetition) -> Floats:
    """What was shown lately loses: `discount` for the last slate, half of it for the one before, and so on.

    Args:
        codes: (B, R).
        shown: items of the users' recent slates (B, S), -1 is padding.
        slate: which slate each is of (S,), 0 for the last.

    Returns:
        What to add (B, R), at most 0.
    """
    lost = np.where(slate < repeats.slates, repeats.discount * 0.5**slate, 0.0).astype(np.float32)
    again = (codes[:, :, None] == shown[:, None, :]) & (codes >= 0)[:, :, None]
    added: Floats = -(again @ lost)
    return added
