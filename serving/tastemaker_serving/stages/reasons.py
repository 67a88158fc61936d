"""Reasons for people: what in a user's past speaks for an item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tastemaker.candidates import CONTENT, EXPLORE, ITEM_TO_ITEM, POPULAR, STREAM, TRENDING, Codes, Floats
from tastemaker_serving.models import Personal


def liked_neighbours(model: Personal, chosen: Codes, history: Codes, preference: Floats) -> Codes:
    """For every chosen item (B, n), the item of the history (B, L) that speaks most for it: liked, and its neighbour.

    Returns:
        Item codes (B, n), -1 where nothing liked is a neighbour.
    """
    rows = len(chosen)
    liking = np.zeros((rows, len(model.neighbours) + 1), dtype=np.float32)  # the spare column takes padding
    np.put_along_axis(liking, history, np.where(history >= 0, np.maximum(preference, 0.0), 0.0), axis=1)
    near = model.neighbours[chosen]  # (B, n, K)
    strength = liking[np.arange(rows)[:, None, None], near] * model.neighbour_weights[chosen]
    best = strength.argmax(axis=2)[..., None]
    found = np.take_along_axis(near, best, axis=2)[..., 0]
    return np.where(np.take_along_axis(strength, best, axis=2)[..., 0] > 0, found, np.int32(-1))


def reason(source: int, because: int, segment: str | None, titles: Sequence[str]) -> str:
    """One sentence for a person.

    Args:
        source: position in SOURCES.
        because: code of the liked neighbour, -1 for none.
        segment: the user's category of strongest affinity.
    """
    if source == POPULAR:
        return f"Popular in {segment}" if segment else "Popular with everybody"
    if source in {TRENDING, STREAM}:
        return "Trending now" if source == TRENDING else "Read now"
    if source == EXPLORE:
        return "Something new"
    if because >= 0:
        return f"Because you liked {titles[because]}"
    return "Similar to what you liked" if source in {ITEM_TO_ITEM, CONTENT} else "Matches your taste"
