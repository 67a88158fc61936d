"""Users of whom few events are known: what they said they like, or what people like them like, stands in for events.

Stand-ins come before what the user did. So every model answers to them as to a history, at once, and forgets them as
events come in.

B users, L history, S items seen. A code of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import Any, Final, NamedTuple

import numpy as np

from tastemaker.candidates import Codes, Floats, Mask
from tastemaker.demographics import DEMOGRAPHIC, Lists, popular_among
from tastemaker.features.tower_inputs import KeyIndex, TowerInputs
from tastemaker.ids import keys_of
from tastemaker.popular import Person
from tastemaker.preferences import Preferences

FEW: Final = 5
"""From so many events on a history speaks for itself."""
MOST: Final = 10
"""Stand-ins for liked categories or a segment, and liked items, that one user gets."""
SAID, CATEGORY, SEGMENT = 1.0, 0.6, 0.3
"""Preferences: of an item that the user named, of one of a category that they named, of what people like them like."""


@dataclass(frozen=True)
class PopularLists:
    """What stands in: item codes, best first."""

    category: Mapping[str, Sequence[int]]
    demographic: Lists

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> PopularLists:
        """From the bundle's `popularity` document."""
        return cls(document["category"], document.get(DEMOGRAPHIC, {}))


class Introduced(NamedTuple):
    """The inputs of the models, with stand-ins."""

    inputs: TowerInputs
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    done: Floats  # (B, L) the preference of what the users did or said, 0 for other stand-ins


class StandIn(NamedTuple):
    """An item in the place of an event."""

    code: int
    preference: float


def introduce(
    inputs: TowerInputs,
    segment: Codes,
    people: Sequence[Person],
    said: Mapping[int, Preferences],
    *,
    lists: PopularLists,
    index: KeyIndex,
    vocabulary: Sequence[str],
) -> Introduced:
    """Put stand-ins before the events of users with fewer than `FEW`; the others' inputs stay as they are.

    A segment is for users of whom neither an event is known nor what they said. The items that stand for it or for a
    category may be recommended; items that the user named may not: they know them.

    Args:
        people: B, or none where nothing is known of anybody.
        said: what the users in these rows like.
    """
    events = np.count_nonzero(inputs.history >= 0, axis=1)
    named: dict[int, list[int]] = {}
    before: dict[int, list[StandIn]] = {}
    segment = segment.copy()
    for row in np.flatnonzero(events < FEW).tolist():
        liked = said.get(row, Preferences())
        categories = [name for name in liked.categories if name in lists.category]
        named[row] = _known(index.find(keys_of(liked.items)))
        stand_ins = [StandIn(code, CATEGORY) for code in _in_turn(lists.category[name] for name in categories)]
        if people and not (events[row] or stand_ins or named[row]):
            stand_ins = [StandIn(code, SEGMENT) for code in popular_among(lists.demographic, *people[row])[:MOST]]
        # The best comes last, as the newest event does.
        before[row] = stand_ins[::-1] + [StandIn(code, SAID) for code in named[row][-MOST:]]
        if categories and segment[row] < 0 and categories[0] in vocabulary:
            segment[row] = vocabulary.index(categories[0])
    if not any(before.values()):
        return Introduced(inputs, segment, inputs.preference)
    widened, done = _before(inputs, before, events)
    return Introduced(_seen(widened, named), segment, done)


def _before(
    inputs: TowerInputs, before: Mapping[int, Sequence[StandIn]], events: np.ndarray[Any, np.dtype[np.intp]]
) -> tuple[TowerInputs, Floats]:
    """The inputs with stand-ins right before the rows' oldest events, as old as those."""
    width = max(inputs.history.shape[1], *(events[row] + len(stand_ins) for row, stand_ins in before.items()))
    more = ((0, 0), (int(width) - inputs.history.shape[1], 0))
    history = np.pad(inputs.history, more, constant_values=-1)
    preference, age, time = np.pad(inputs.preference, more), np.pad(inputs.age, more), np.pad(inputs.time, more)
    implied: Mask = np.zeros(history.shape, dtype=bool)
    for row, stand_ins in before.items():
        if not stand_ins:
            continue
        places = slice(width - events[row] - len(stand_ins), width - events[row])
        history[row, places] = [one.code for one in stand_ins]
        preference[row, places] = [one.preference for one in stand_ins]
        age[row, places] = age[row, -events[row]] if events[row] else 0.0
        implied[row, places] = [one.preference < SAID for one in stand_ins]
    widened = replace(inputs, history=history, preference=preference, age=age, time=time)
    return widened, np.where(implied, np.float32(0), preference)


def _seen(inputs: TowerInputs, named: Mapping[int, Sequence[int]]) -> TowerInputs:
    more = np.full((len(inputs.seen), max(map(len, named.values()))), -1, dtype=np.int32)
    for row, codes in named.items():
        more[row, : len(codes)] = codes
    return replace(inputs, seen=np.concatenate([inputs.seen, more], axis=1))


def _in_turn(lists: Iterable[Sequence[int]]) -> list[int]:
    taken = (code for code in chain.from_iterable(zip_longest(*lists)) if code is not None)
    return list(islice(dict.fromkeys(taken), MOST))


def _known(codes: Codes) -> list[int]:
    return [code for code in codes.tolist() if code >= 0]
