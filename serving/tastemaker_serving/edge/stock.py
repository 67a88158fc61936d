"""A bundle's shelf with what became of the catalogue since: items added, changed, gone.

New items get the codes behind the bundle's, as they come: codes are this process's own and never leave it. What they
are near to is borrowed from their kin (`features.kin`). All this goes on in a thread; the shelf is replaced as a whole.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from redis.asyncio import Redis

from tastemaker.catalogue.log import ItemChange
from tastemaker.catalogue.log import items as item_log
from tastemaker.catalogue.tables import ITEM_SCHEMA
from tastemaker.changes.tables import to_arrow
from tastemaker.features.kin import Codes, Floats
from tastemaker.growing import Growing
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.shelf import Shelf


class Stock:
    """`shelf` is up to date as of the last refresh."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._bundled = len(shelf.item_ids)
        self._neighbours = Growing(shelf.neighbours)
        self._weights = Growing(shelf.neighbour_weights)
        self._followed = shelf.catalogue_version
        self._versions: dict[str, int] = {}
        self._changing = threading.Lock()

    async def refresh(self, redis: Redis, breaker: Breaker) -> None:
        """Follow the log of changes once. Raises `Unavailable` when Redis does not answer; all stays as it was."""
        with breaker:
            found = await item_log.follow(redis, self._followed)
        if found:
            # One that changed while the log was read comes twice.
            await self.apply(list({change.id: change for change in found}.values()))
            self._followed = max(change.version for change in found)

    async def apply(self, changes: Sequence[ItemChange]) -> None:
        """Put changes, one an item, on the shelf, which may lack others that came before.

        They may come twice, and an older one of an item after a newer one.
        """
        await asyncio.to_thread(self._take_in, changes)

    def _take_in(self, changes: Sequence[ItemChange]) -> None:
        with self._changing:
            fresh = [change for change in changes if change.version > self._versions.get(change.id, 0)]
            if not fresh:
                return
            strangers = [change for change in fresh if self._is_new(change)]
            near = self._near(strangers) if strangers else None
            self._reword(fresh)
            self.shelf = self._restocked(fresh, strangers, near)
            self._versions.update((change.id, change.version) for change in fresh)

    def _is_new(self, change: ItemChange) -> bool:
        """Whether the bundle has no row of the item."""
        return change.document is not None and self.shelf.code_of.get(change.id, self._bundled) >= self._bundled

    def _near(self, strangers: Sequence[ItemChange]) -> tuple[Codes, Floats]:
        relations = self.shelf.relations
        found = relations.kin(relations.content_of(to_arrow(strangers, ITEM_SCHEMA)))
        return found.neighbours(self._neighbours.rows[: self._bundled], self._weights.rows[: self._bundled])

    def _reword(self, changes: Sequence[ItemChange]) -> None:
        self.shelf.words.put([change.document for change in changes if change.document is not None])
        self.shelf.words.remove([change.id for change in changes if change.document is None])

    def _restocked(
        self, changes: Sequence[ItemChange], strangers: Sequence[ItemChange], near: tuple[Codes, Floats] | None
    ) -> Shelf:
        shelf = self.shelf
        first = len(shelf.item_ids)
        added = [change.id for change in strangers if change.id not in shelf.code_of]
        code_of = {**shelf.code_of, **{item_id: code for code, item_id in enumerate(added, start=first)}}
        if near is not None:
            places = np.array([code_of[change.id] for change in strangers])
            self._neighbours.put(places, near[0])
            self._weights.put(places, near[1])
        titles, categories = [*shelf.titles, *added], [*shelf.categories, *(() for _ in added)]
        gone, popular_in = set(shelf.gone), dict(shelf.popular_in)
        there = {code_of[change.id]: change.document for change in changes if change.document is not None}
        for change in changes:
            item = change.document
            (gone.discard if item is not None and item.available else gone.add)(change.id)
            if item is not None:
                code = code_of[change.id]
                _move(popular_in, code, categories[code], item.categories)
                titles[code], categories[code] = item.title, item.categories
        places_gone = np.array([code_of[item_id] for item_id in gone if item_id in code_of], dtype=np.int32)
        return replace(
            shelf,
            item_ids=(*shelf.item_ids, *added),
            code_of=code_of,
            titles=tuple(titles),
            categories=tuple(categories),
            attributes=shelf.attributes.changed(added, there, places_gone),
            neighbours=self._neighbours.rows,
            neighbour_weights=self._weights.rows,
            popular=(*shelf.popular, *range(first, len(code_of))),
            popular_in=popular_in,
            gone=frozenset(gone),
        )


def _move(popular_in: dict[str, tuple[int, ...]], code: int, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Take an item from the lists of its former categories, and put it at the end of those of its new ones."""
    for name in set(before).difference(after):
        popular_in[name] = tuple(each for each in popular_in.get(name, ()) if each != code)
    for name in set(after).difference(before):
        popular_in[name] = (*popular_in.get(name, ()), code)
