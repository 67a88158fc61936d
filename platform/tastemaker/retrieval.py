"""Candidate sources: each proposes item codes for a batch of users, best first; `candidates.unite` makes one list.

Serving retrieves with it and training makes the ranker's lists with it.

B users, N items, D vector width, L history, k proposals of one source. A code of -1 is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import torch

from tastemaker.candidates import (
    ALS,
    CONTENT,
    ITEM_TO_ITEM,
    POPULAR,
    Candidates,
    Codes,
    Floats,
    Proposals,
    among,
    largest,
    most_voted,
    places,
    unite,
)
from tastemaker.decisions.drops import Drop
from tastemaker.features import cross
from tastemaker.features.fold_in import ItemFactors

DENSE_BATCH = 4
DENSE_ITEMS = 200_000
"""From this batch on, and up to this catalogue, one matrix product and a partial sort beat FAISS: at 50,000 by 256,
k = 1,000, one thread, an AVX2 core needs 0.9 ms of CPU per query in batches of 32, against 2.5 (fp16 flat scan) and
3.7 (product in bfloat16, which wants AVX-512). For one query the scan wins, 2.5 to 6; above, the index compresses."""


@dataclass(frozen=True)
class Space:
    """Item vectors that are searched by inner product."""

    vectors: torch.Tensor  # (N, D) f32
    index: faiss.Index

    @classmethod
    def of(cls, vectors: Floats) -> Space:
        """The space of `vectors` (N, D) with an index of its own."""
        return cls(torch.from_numpy(vectors), flat_index(vectors))


@dataclass(frozen=True)
class Retrieval:
    """What proposes candidates."""

    two_tower: Space
    factors: ItemFactors
    als: Space  # the same vectors
    content: Space
    neighbours: Codes  # (N, K), -1 where there are fewer
    neighbour_weights: Floats  # (N, K)
    popular: Codes  # (G + 1, M) best first, -1 where there are fewer; row g is for segment g, the last for everybody


@dataclass(frozen=True)
class Wanted:
    """What is asked for B users."""

    user_vectors: Floats  # (B, D)
    history: Codes  # (B, L) newest last
    preference: Floats  # (B, L) in [-1, 1]
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    seen: Codes  # (B, S)
    excluded: Codes  # (B, X)
    traced: bool = False  # whether `Candidates.dropped` is wanted


@dataclass(frozen=True)
class Search:
    """Queries of a space by users who shall not get what they have seen."""

    space: Space
    queries: Floats  # (B, D)
    seen: Codes  # (B, S)
    products: Floats | None  # (B, N) with all items, where that is cheaper than the index; of items seen, -inf

    def nearest(self, k: int) -> Codes:
        """The k unseen items of largest inner product, best first (B, k); where there are fewer, seen ones or -1."""
        if self.products is not None:
            return largest(self.products, k)
        wanted = min(k + self.seen.shape[1], len(self.space.vectors))
        codes = self.space.index.search(self.queries, wanted)[1].astype(np.int32)
        unseen_first = np.argsort(among(codes, self.seen), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(codes, unseen_first, axis=1)

    def of(self, codes: Codes) -> Floats:
        """The inner products with the items `codes` (B, C)."""
        if self.products is not None:
            return np.take_along_axis(self.products, codes, axis=1)
        return torch.bmm(rows_of(self.space.vectors, codes), torch.from_numpy(self.queries)[:, :, None])[..., 0].numpy()


@dataclass(frozen=True)
class Signals:
    """What the sources have to say, computed once for retrieval and ranking."""

    two_tower: Search
    als: Search
    content: Search
    item_to_item: Floats  # (B, N)
    recent: Floats  # (B, N)

    def of(self, codes: Codes) -> Floats:
        """What they say of `codes` (B, C), in the order of cross.SIGNALS: (S, B, C)."""
        searched = [search.of(codes) for search in (self.als, self.content)]
        voted = [np.take_along_axis(votes, codes, axis=1) for votes in (self.item_to_item, self.recent)]
        return np.stack([self.two_tower.of(codes), *voted, *searched])


def signals(model: Retrieval, wanted: Wanted) -> Signals:
    """Ask every source about all items."""
    return Signals(
        search(model.two_tower, wanted.user_vectors, wanted.seen),
        search_als(model, wanted),
        search_content(model, wanted),
        *votes(model, wanted),
    )


def search_als(model: Retrieval, wanted: Wanted) -> Search:
    """What the factors say that the histories amount to."""
    return search(model.als, model.factors.fold_in(wanted.history, wanted.preference), wanted.seen)


def search_content(model: Retrieval, wanted: Wanted) -> Search:
    """What is about the same things as what was liked lately."""
    tastes = cross.taste(model.content.vectors.numpy(), wanted.history, wanted.preference, cross.CONTENT)
    return search(model.content, tastes, wanted.seen)


def votes(model: Retrieval, wanted: Wanted) -> tuple[Floats, Floats]:
    """What the whole histories and their newest events say of every item, (B, N) each."""
    table = model.neighbours, model.neighbour_weights
    lasting, recent = (
        cross.item_to_item(*table, wanted.history, wanted.preference, wanted.seen, memory)
        for memory in (cross.LASTING, cross.RECENT)
    )
    return lasting, recent


def search(space: Space, queries: Floats, seen: Codes) -> Search:
    """A search of `space`; where all products are computed, items `seen` (B, S) are out of it."""
    if len(queries) < DENSE_BATCH or len(space.vectors) > DENSE_ITEMS:
        return Search(space, queries, seen, None)
    products = torch.mm(torch.from_numpy(queries), space.vectors.T).numpy()
    rows, place = np.nonzero(seen >= 0)
    products[rows, seen[rows, place]] = -np.inf
    return Search(space, queries, seen, products)


def propose(model: Retrieval, wanted: Wanted, found: Signals, limit: int) -> Proposals:
    """Ask every source and unite what they propose: `limit` items, and as many more as filters may take away."""
    others = {
        ITEM_TO_ITEM: most_voted(found.item_to_item, places(ITEM_TO_ITEM, limit)),
        ALS: found.als.nearest(places(ALS, limit)),
        CONTENT: found.content.nearest(places(CONTENT, limit)),
        POPULAR: popular(model, wanted.segment)[:, : places(POPULAR, limit)],
    }
    spare = wanted.seen.shape[1] + wanted.excluded.shape[1]
    return unite(found.two_tower.nearest(limit + spare), others, limit)


def popular(model: Retrieval, segments: Codes) -> Codes:
    """The most popular items of each user's segment (B,), -1 for unknown; (B, k)."""
    return model.popular[segments]  # the table's last row, for everybody, is also its row -1


def candidates(found: Signals, proposals: Proposals, dropped: tuple[Drop, ...] = ()) -> Candidates:
    """Each proposal with what every source says of it, whoever proposed it, and what was `dropped` on the way."""
    heard = found.of(proposals.codes)
    heard[:, proposals.codes < 0] = 0.0
    return Candidates(proposals.codes, proposals.source, heard, dropped)


def rows_of(table: torch.Tensor, codes: Codes) -> torch.Tensor:
    """The rows of `table` (N, W) at `codes` (B, C), shape (B, C, W); padding, -1, reads row 0."""
    rows = table.index_select(0, torch.from_numpy(np.maximum(codes, 0).ravel()))
    return rows.view(*codes.shape, table.shape[1])


def flat_index(vectors: Floats) -> faiss.Index:
    """An exact scan of half-precision vectors by inner product: at 50,000 items it is both faster and more exact than
    any approximate index (docs/models.md has the figures)."""
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index
