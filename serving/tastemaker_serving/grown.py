"""The models of each role with rows for new items, borrowed from their kin (`features.kin`).

M new items, N items of the bundle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from tastemaker.attributes import published_of
from tastemaker.features.content import unit
from tastemaker.growing import Growing
from tastemaker.retrieval import Retrieval
from tastemaker_serving.models import Personal, RankingModel
from tastemaker_serving.overlay import Roster, Update


class Known(NamedTuple):
    """A model, and who has which code in it. What is worked out with one is worked out with the other."""

    model: Personal
    roster: Roster


class GrownPersonal:
    """`known` is up to date with the last update."""

    def __init__(self, model: Personal) -> None:
        self.known = Known(model, Roster(len(model.item_ids), model.index))
        self._bundled = len(model.item_ids)
        self._vectors = Growing(model.unit_vectors.numpy())
        self._neighbours = Growing(model.neighbours)
        self._weights = Growing(model.neighbour_weights)
        self._stand_ins = Growing(np.empty(0, dtype=np.int32))

    def adopt(self, update: Update) -> None:
        """Put an update in its place."""
        model = self.known.model
        if update.kin is not None:
            bundled = slice(self._bundled)
            self._vectors.put(update.codes, unit(update.kin.mean(self._vectors.rows[bundled])))
            codes, weights = update.kin.neighbours(self._neighbours.rows[bundled], self._weights.rows[bundled])
            self._neighbours.put(update.codes, codes)
            self._weights.put(update.codes, weights)
            nearest = np.where(update.kin.weights[:, 0] > 0, update.kin.codes[:, 0], np.int32(-1))
            self._stand_ins.put(update.codes - self._bundled, nearest)
        titles = [*model.titles, *update.added]
        for code, item in update.items.items():
            titles[code] = item.title
        attributes = model.attributes.changed(update.added, update.items, update.gone)
        model = replace(
            model,
            item_ids=[*model.item_ids, *update.added],
            titles=titles,
            index=attributes.index,
            attributes=attributes,
            unit_vectors=torch.from_numpy(self._vectors.rows),
            neighbours=self._neighbours.rows,
            neighbour_weights=self._weights.rows,
            stand_ins=self._stand_ins.rows,
        )
        self.known = Known(model, update.roster)


class GrownRetrieval:
    """`model` is up to date with the last update."""

    def __init__(self, model: Retrieval) -> None:
        self.model = model
        self._bundled = len(model.neighbours)
        self._vectors = Growing(model.two_tower.vectors.numpy())
        self._als = Growing(model.factors.vectors)
        self._content = Growing(model.content.vectors.numpy())
        self._neighbours = Growing(model.neighbours)
        self._weights = Growing(model.neighbour_weights)
        self._published = Growing(model.published)

    def adopt(self, update: Update) -> None:
        """Put an update in its place."""
        model, kin, bundled = self.model, update.kin, slice(self._bundled)
        if kin is not None:
            self._vectors.put(update.codes, kin.mean(self._vectors.rows[bundled]))
            self._als.put(update.codes, kin.mean(self._als.rows[bundled]))
            codes, weights = kin.neighbours(self._neighbours.rows[bundled], self._weights.rows[bundled])
            self._neighbours.put(update.codes, codes)
            self._weights.put(update.codes, weights)
        if update.items:
            codes, content = np.fromiter(update.items, dtype=np.int32), update.content()
            self._content.put(codes, content)
            model.content.rewrite(codes, content)
            self._published.put(codes, np.array([published_of(item) for item in update.items.values()]))
        self.model = replace(
            model,
            two_tower=model.two_tower.grown(self._vectors.rows, update.gone),
            factors=replace(model.factors, vectors=self._als.rows),
            als=model.als.grown(self._als.rows, update.gone),
            content=model.content.grown(self._content.rows, update.gone),
            neighbours=self._neighbours.rows,
            neighbour_weights=self._weights.rows,
            gone=update.gone,
            published=self._published.rows,
        )


class GrownRanking:
    """`model` is up to date with the last update."""

    def __init__(self, model: RankingModel) -> None:
        self.model = model
        self._bundled = len(model.item_half)
        self._halves = Growing(model.item_half.numpy())

    def adopt(self, update: Update) -> None:
        """Put an update in its place."""
        if update.kin is not None:
            halves = update.kin.mean(self._halves.rows[: self._bundled])
            self._halves.put(update.codes, halves.astype(np.float16))
            self.model = replace(self.model, item_half=torch.from_numpy(self._halves.rows))
