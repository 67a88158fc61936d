from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tastemaker.features.profile import DEVICES, profile_matrix, profile_width, rows_from

KNOWN: dict[str, Any] = {
    "account_age_days": 10.0,
    "total_items_consumed": 3,
    "avg_session_duration_7d": 60.0,
    "device_type": "tv",
    "active_hours": np.eye(24, dtype=np.float32)[5],
    "genre_affinity": [0.5, -0.25],
}
ABSENT = dict.fromkeys(KNOWN)


def profiles(*rows: dict[str, Any], categories: int = 2) -> np.ndarray[Any, Any]:
    ages = np.array([np.nan if row is ABSENT else 5.0 for row in rows])
    return profile_matrix(rows_from({name: [row[name] for row in rows] for name in KNOWN}, ages), categories)


def test_a_profile_holds_its_parts_in_order() -> None:
    (profile,) = profiles(KNOWN)

    assert profile.dtype == np.float32
    assert profile[:4] == pytest.approx([0, np.log(11), np.log(4), np.log(61)])
    assert profile[4:28].tolist() == np.eye(24)[5].tolist()
    assert profile[28:32].tolist() == [0, 0, 1, 0]
    assert profile[32:].tolist() == [0.5, -0.25]


def test_a_user_without_a_row_is_flagged_and_otherwise_zero() -> None:
    known, absent = profiles(KNOWN, ABSENT)

    assert (known[0], absent[0]) == (0, 1)
    assert not absent[1:].any()


def test_an_unknown_device_is_other() -> None:
    (profile,) = profiles({**KNOWN, "device_type": "fridge"})
    assert profile[28:32].tolist() == [name == "other" for name in DEVICES]


@pytest.mark.parametrize(("categories", "affinity"), [(1, [0.5]), (2, [0.5, -0.25]), (4, [0.5, -0.25, 0, 0])])
def test_rows_and_models_may_know_different_numbers_of_categories(categories: int, affinity: list[float]) -> None:
    (profile,) = profiles(KNOWN, categories=categories)
    assert len(profile) == profile_width(categories)
    assert profile[32:].tolist() == affinity


def test_no_users_make_an_empty_matrix() -> None:
    assert profiles().shape == (0, profile_width(2))
