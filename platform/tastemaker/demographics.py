"""What a new user is shown of whom only a profile is known: what is popular among people like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from tastemaker import columns

DEMOGRAPHIC: Final = "demographic"
"""Key of the bundle's popularity document: by column (country, device) and value, the largest first, item codes."""

Lists: TypeAlias = Mapping[str, Mapping[str, Sequence[int]]]


def popular_among(lists: Lists, country: str | None, device: str | None) -> Sequence[int]:
    """The most popular items among people like this, best first; none where neither is known.

    A country says more than a device, unless it is the one that most come from, which is what everybody's list is of.
    """
    countries, devices = lists.get(columns.COUNTRY, {}), lists.get(columns.DEVICE, {})
    here, on = countries.get(country or "", ()), devices.get(device or "", ())
    is_home = country == next(iter(countries), None)
    return on if is_home and on else here or on
