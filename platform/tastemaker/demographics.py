"""What a new user is shown of whom only a profile is known: what is popular among people like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from tastemaker import columns

DEMOGRAPHIC: Final = "demographic"
"""Key of the bundle's popularity document: by column (country, device) and value, the largest first, item codes."""

Lists: TypeAlias = Mapping[str, Mapping[str, Sequence[int]]]


def popular_among(lists: Lists, country: str | None, device: str | None) -> Sequence[int]:
    """The most popular items among people like this, best first; none where neither is known."""
    column, value = segment_among(lists, country, device)
    return lists[column][value] if column else ()


def segment_among(
    known: Mapping[str, Mapping[str, object]], country: str | None, device: str | None
) -> tuple[str, str]:
    """Which of the `known` segments, by column and value, the largest first, tells most of people like this.

    A country says more than a device, unless it is the one that most come from, which is what everybody's list is of.

    Returns:
        Column and value, empty where neither is known.
    """
    countries, devices = known.get(columns.COUNTRY, {}), known.get(columns.DEVICE, {})
    is_home = country == next(iter(countries), None)
    if device is not None and device in devices and (is_home or country not in countries):
        return columns.DEVICE, device
    return (columns.COUNTRY, country) if country is not None and country in countries else ("", "")
