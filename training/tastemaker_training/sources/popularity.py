"""What most people like: overall, by category, by segment (the category that a user is fondest of), and by what a
profile tells of a user without events.

U users, N items, G categories, P profile width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tastemaker import columns
from tastemaker.candidates import strongest_category
from tastemaker.demographics import DEMOGRAPHIC
from tastemaker.features.profile import DEVICES, HOURS, SCALARS
from tastemaker_training.interactions import Floats, Interactions
from tastemaker_training.sources.demographics import segment_lists

OVERALL = 1_000
NAMED = 200
"""Longest lists."""


def popularity(
    interactions: Interactions,
    categories: Floats,
    profiles: Floats,
    countries: Sequence[str | None],
    vocabulary: list[str],
    liked: float,
) -> dict[str, object]:
    """The bundle's popularity document: item codes by number of likes, ties by code; items without a like are left out.

    Args:
        categories: membership (N, G) of the items, columns in the order of `vocabulary`.
        profiles: (U, P), of which the last G entries are the user's affinities. countries: U.
        liked: preference from which an event is a like.
    """
    likes = interactions.preferences >= liked
    items = interactions.items[likes]
    size = len(interactions.item_ids)
    counts = np.bincount(items, minlength=size)
    affinity = profiles[:, profiles.shape[1] - len(vocabulary) :]
    users = interactions.users[likes]
    segment = strongest_category(affinity)[users]
    known = {columns.COUNTRY: countries, columns.DEVICE: _devices(profiles)}
    return {
        "overall": _ranking(counts, OVERALL),
        "category": {
            name: _ranking(np.where(categories[:, place] > 0, counts, 0), NAMED)
            for place, name in enumerate(vocabulary)
        },
        "segment": {
            name: _ranking(np.bincount(items[segment == place], minlength=size), NAMED)
            for place, name in enumerate(vocabulary)
        },
        DEMOGRAPHIC: {
            column: segment_lists(items, [values[user] for user in users], size, NAMED)
            for column, values in known.items()
        },
    }


def _devices(profiles: Floats) -> list[str | None]:
    """Each user's device; None where it is not known."""
    marks = profiles[:, SCALARS + HOURS :][:, : len(DEVICES) - 1]  # the last one is `other`, and none
    return [DEVICES[int(mark.argmax())] if mark.any() else None for mark in marks]


def _ranking(counts: npt.NDArray[np.int64], limit: int) -> list[int]:
    ranked = np.argsort(-counts, kind="stable")[:limit]
    return ranked[counts[ranked] > 0].tolist()  # type: ignore[no-any-return]
