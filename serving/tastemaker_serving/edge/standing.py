"""Business rules and caps at the edge, where they hold on every rung of the ladder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from tastemaker.attributes import Attributes
from tastemaker.candidates import Codes
from tastemaker.scenes import Caps, Rule, Scene, stamp
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.remembered import remembered
from tastemaker_serving.stages.rules import effects


@dataclass(frozen=True, eq=False)
class Standing:
    """What the hard rules of a scene that are in force mean for the items of a shelf."""

    banned: frozenset[str]
    pins: tuple[tuple[int, str], ...]
    """Wanted place and item id, in the order of the rules."""
    caps: Caps
    code_of: Mapping[str, int]
    """Of the items of the shelf."""
    attributes: Attributes
    stamp: str
    """Of the rules in force: a slate that was made under others is not fresh."""
    begins_alike: bool = False
    """See `Scene.begins_alike`."""

    def pinned(self, refused: Set[str], n: int) -> dict[int, str]:
        """Which item stands at which of n places, as `stages.rules.pinned` decides it, without those `refused`."""
        places: dict[int, str] = {}
        for place, item_id in self.pins:
            free = next((at for at in range(place, n) if at not in places), None)
            if free is not None and item_id not in refused and item_id not in places.values():
                places[free] = item_id
        return places

    def admits(self, item_ids: Sequence[str], pinned: Mapping[int, str], n: int) -> bool:
        """Whether a slate of `n` places, or fewer where nothing was left, keeps to the rules.

        Args:
            pinned: which item shall stand where; in a short slate it may have moved up.
        """
        if not self.banned.isdisjoint(item_ids):
            return False
        if len(item_ids) < n:
            stand = set(pinned.values()) <= set(item_ids)
        else:
            stand = all(item_ids[place] == item_id for place, item_id in pinned.items())
        return stand and all(quota.holds(item_ids, pinned.values()) for quota in self.quotas())

    def quotas(self) -> list[Quota]:
        """The caps of one slate, of which nothing is taken."""
        of = self.attributes
        limited = ((of.categories, self.caps.category), (of.author[:, None], self.caps.author))
        return [Quota(self.code_of, groups, most) for groups, most in limited if most is not None]


class Quota:
    """At most `most` items of each group in one slate. Items that the shelf lacks are of no group."""

    def __init__(self, code_of: Mapping[str, int], groups: Codes, most: int) -> None:
        """Nothing is taken. `groups` (N, K) holds codes, -1 where an item has fewer than K."""
        self._code_of = code_of
        self._groups = groups
        self._most = most
        self._taken: Counter[int] = Counter()

    def admits(self, item_id: str) -> bool:
        """Whether there is room for the item."""
        return all(self._taken[group] < self._most for group in self._groups_of(item_id))

    def take(self, item_id: str) -> None:
        """Count the item."""
        self._taken.update(self._groups_of(item_id))

    def holds(self, item_ids: Iterable[str], pinned: Iterable[str]) -> bool:
        """Whether a slate keeps to it; the `pinned` items of it come whatever it says."""
        taken = self._count(item_ids)
        if max(taken.values(), default=0) <= self._most:
            return True
        brought = self._count(pinned)
        return all(count <= max(self._most, brought[group]) for group, count in taken.items())

    def _count(self, item_ids: Iterable[str]) -> Counter[int]:
        codes = [self._code_of[item_id] for item_id in item_ids if item_id in self._code_of]
        count = Counter[int](self._groups[codes].ravel().tolist())
        del count[-1]
        return count

    def _groups_of(self, item_id: str) -> list[int]:
        code = self._code_of.get(item_id)
        return [] if code is None else [group for group in self._groups[code].tolist() if group >= 0]


def standing(scene: Scene, shelf: Shelf, clock: Callable[[], float] = time.time) -> Standing:
    """The hard rules of `scene` now."""
    rules = scene.in_force(clock())
    return _standing(shelf, rules, scene.caps, scene.begins_alike(rules))


@remembered
def _standing(shelf: Shelf, rules: tuple[Rule, ...], caps: Caps, begins_alike: bool) -> Standing:
    found, ids = effects(rules, shelf.attributes), shelf.item_ids
    banned = frozenset(ids[code] for _, hit in found.bans for code in np.flatnonzero(hit).tolist())
    pins = tuple((place, ids[code]) for place, code in found.pins)
    return Standing(banned, pins, caps, shelf.code_of, shelf.attributes, stamp(rules), begins_alike)
