"""Business rules: what those that are in force mean for the items of a catalogue.

B users, C candidates, N items, n places of the longest slate. A code of -1 is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tastemaker.attributes import Attributes
from tastemaker.candidates import Candidates, Codes, Floats, Mask
from tastemaker.scenes import Ban, Boost, Pin, Rule
from tastemaker_serving.remembered import remembered

PINNED: Final = 255
"""The source of an item that a rule put in its place; it is none of candidates.SOURCES."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What the rules in force of one scene mean."""

    bans: tuple[tuple[str, Mask], ...]  # name of the rule, and what it bans (N,)
    lift: Floats | None  # (N,) what boosts add, as a share of the span between the best and worst ranked item
    pins: tuple[tuple[int, int], ...]  # wanted place and item code, in the order of the rules


def effects(rules: tuple[Rule, ...], attributes: Attributes) -> Effects:
    """What these rules mean for the catalogue when all are in force.

    Names that it lacks mean nothing, and items that are gone are not pinned.
    """
    return _effects(attributes, rules)


@remembered
def _effects(attributes: Attributes, rules: tuple[Rule, ...]) -> Effects:
    items = len(attributes.author)
    lift = np.zeros(items, dtype=np.float32)
    bans: list[tuple[str, Mask]] = []
    pins: list[tuple[int, int]] = []
    for rule in rules:
        match rule:
            case Ban():
                bans.append((rule.name, attributes.named(rule.items, rule.categories, rule.authors)))
            case Boost():
                lift[attributes.named(rule.items, rule.categories, rule.authors)] += rule.by
            case Pin():
                pins += [(rule.position, code) for code in attributes.codes_of(rule.items).tolist()]
    masks = [attributes.gone, *(banned for _, banned in bans)]
    allowed = [(place, code) for place, code in pins if not any(mask[code] for mask in masks)]
    return Effects(tuple(bans), lift if lift.any() else None, tuple(allowed))


def without(candidates: Candidates, banned: Mask) -> Candidates:
    """The candidates that are not `banned` (B, C), in the same order."""
    if not banned.any():
        return candidates
    kept = (candidates.codes >= 0) & ~banned
    order = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(axis=1).max(initial=0))]
    codes = np.where(np.take_along_axis(kept, order, axis=1), np.take_along_axis(candidates.codes, order, axis=1), -1)
    return replace(
        candidates,
        codes=codes.astype(np.int32),
        source=np.take_along_axis(candidates.source, order, axis=1),
        signals=np.take_along_axis(candidates.signals, order[None], axis=2),
    )


def pinned(pins: Sequence[tuple[int, int]], refused: Codes, lengths: Sequence[int]) -> Codes:
    """Which item stands at each place of the slates: (B, n), -1 where none is pinned.

    Where several are pinned to one place, the later ones take the next free places. What would stand beyond the slate
    is not in it.

    Args:
        refused: items that a user shall not get (B, X).
        lengths: of the slates (B,); n is the longest.
    """
    places = np.full((len(refused), max(lengths, default=0)), -1, dtype=np.int32)
    for row, (unwanted, length) in enumerate(zip(refused, lengths, strict=True) if pins else ()):
        for place, code in pins:
            free = np.flatnonzero(places[row, place:length] < 0)
            if len(free) and code not in unwanted and code not in places[row]:
                places[row, place + free[0]] = code
    return places
