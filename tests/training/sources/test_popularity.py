from __future__ import annotations

import numpy as np
import pytest

from tastemaker.features.profile import DEVICES, HOURS, SCALARS, profile_width
from tastemaker_training.interactions import Interactions
from tastemaker_training.sources import popularity as module
from tastemaker_training.sources.popularity import popularity

VOCABULARY = ["Comedy", "Drama"]
CATEGORIES = np.array([[1, 0], [1, 0], [0, 1], [1, 1]], dtype=np.float32)
PROFILES = np.zeros((3, profile_width(2)), dtype=np.float32)
PROFILES[:, -2:] = [[0.5, 0.1], [0.0, 0.7], [0.0, 0.0]]
PROFILES[0, SCALARS + HOURS + DEVICES.index("tv")] = 1
PROFILES[1, SCALARS + HOURS + DEVICES.index("other")] = 1
COUNTRIES = ["DE", "DE", None]
INTERACTIONS = Interactions(
    user_ids=["comedian", "dramatist", "nobody"],
    item_ids=["a", "b", "c", "d"],
    offsets=np.array([0, 3, 6, 7]),
    items=np.array([1, 0, 2, 2, 3, 0, 2]),
    preferences=np.array([1, 1, -1, 1, 1, 0.2, 1], dtype=np.float32),
    timestamps=np.arange(7),
)


def test_lists_rank_by_likes_and_ties_by_code() -> None:
    document = popularity(INTERACTIONS, CATEGORIES, PROFILES, COUNTRIES, VOCABULARY, 0.6)
    assert document == {
        "overall": [2, 0, 1, 3],
        "category": {"Comedy": [0, 1, 3], "Drama": [2, 3]},
        "segment": {"Comedy": [0, 1], "Drama": [2, 3]},
        "demographic": {"country": {"DE": [2, 0, 1, 3]}, "device": {"tv": [2, 0, 1, 3]}},
    }


def test_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERALL", 2)
    monkeypatch.setattr(module, "NAMED", 1)
    document = popularity(INTERACTIONS, CATEGORIES, PROFILES, COUNTRIES, VOCABULARY, 0.6)
    assert document["overall"] == [2, 0]
    assert document["category"] == {"Comedy": [0], "Drama": [2]}
