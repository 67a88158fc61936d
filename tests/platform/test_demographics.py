from __future__ import annotations

import pytest

from tastemaker.demographics import popular_among

LISTS = {"country": {"DE": [1], "FR": [2]}, "device": {"tv": [3]}}


@pytest.mark.parametrize(
    ("country", "device", "codes"),
    [
        ("FR", "tv", [2]),
        ("DE", "tv", [3]),  # from where most come: everybody's list says as much
        ("DE", None, [1]),
        ("DE", "watch", [1]),
        ("XX", "tv", [3]),
        (None, "tv", [3]),
        (None, None, []),
        ("XX", "watch", []),
    ],
)
def test_the_segment_that_says_most_decides(country: str | None, device: str | None, codes: list[int]) -> None:
    assert list(popular_among(LISTS, country, device)) == codes


def test_a_bundle_without_segments_has_none() -> None:
    assert list(popular_among({}, "DE", "tv")) == []
