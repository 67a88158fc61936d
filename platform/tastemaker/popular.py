"""What is popular with people like the user, as a table of candidates.

B users, G categories, M items of a list. A code of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tastemaker.candidates import Codes
from tastemaker.demographics import DEMOGRAPHIC, segment_among


class Person(NamedTuple):
    """What is known of somebody of whom no event is."""

    country: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class PopularTable:
    """Lists of popular items, best first; a short list goes on with everybody's."""

    codes: (
        Codes  # (R, M): a row for each segment of the vocabulary, then for each demographic one, the last everybody's
    )
    demographic: Mapping[str, Mapping[str, int]]  # by column and value: the row

    @classmethod
    def of(cls, document: Mapping[str, Any], vocabulary: Sequence[str], width: int) -> PopularTable:
        """The bundle's `popularity` document as a table."""
        overall: list[int] = document["overall"]
        lists = [document["segment"].get(name, ()) for name in vocabulary]
        rows: dict[str, dict[str, int]] = {}
        for column, by_value in document.get(DEMOGRAPHIC, {}).items():
            rows[column] = {value: len(lists) + place for place, value in enumerate(by_value)}
            lists += by_value.values()
        codes = np.full((len(lists) + 1, width), -1, dtype=np.int32)
        for row, wanted in enumerate([*lists, ()]):
            unique = list(dict.fromkeys([*wanted, *overall]))[:width]
            codes[row, : len(unique)] = unique
        return cls(codes, rows)

    def of_users(self, segment: Codes, people: Sequence[Person]) -> Codes:
        """The list of each user's segment (B,), of people like them where it is -1, or everybody's; (B, M).

        Args:
            people: B, or none where nothing is known of anybody.
        """
        if not people:
            return self.codes[segment]  # the last row, everybody's, is also row -1
        rows = segment.copy()
        for user in np.flatnonzero(segment < 0).tolist():
            rows[user] = self.row_among(people[user])
        return self.codes[rows]

    def row_among(self, person: Person) -> int:
        """The row of what is popular among people like this, -1 where nothing is known of them."""
        column, value = segment_among(self.demographic, *person)
        return self.demographic[column][value] if column else -1
