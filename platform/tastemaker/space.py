"""Item vectors that are searched by inner product.

B users, N items, D vector width, C codes asked about. A code of -1 is padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import faiss
import numpy as np
import torch

from tastemaker.candidates import Codes, Floats, among, largest, no_codes

DENSE_BATCH = 4
DENSE_ITEMS = 200_000
"""From this batch on, and up to this catalogue, one matrix product and a partial sort beat FAISS: at 50,000 by 256,
k = 1,000, one thread, an AVX2 core needs 0.9 ms of CPU per query in batches of 32, against 2.5 (fp16 flat scan) and
3.7 (product in bfloat16, which wants AVX-512). For one query the scan wins, 2.5 to 6; above, the index compresses."""


@dataclass(frozen=True)
class Space:
    """Item vectors that are searched by inner product."""

    vectors: torch.Tensor  # (N, D) f32
    index: faiss.Index  # of the first rows; those behind them are few, and searched one by one
    gone: Codes = field(default_factory=no_codes)  # rows that are not found
    there: faiss.SearchParameters | None = None  # of the index, without them

    @classmethod
    def of(cls, vectors: Floats) -> Space:
        """The space of `vectors` (N, D) with an index of its own."""
        return cls(torch.from_numpy(vectors), flat_index(vectors))

    def grown(self, vectors: Floats, gone: Codes) -> Space:
        """The same space with more rows behind, and without the rows `gone`."""
        indexed = gone[gone < self.index.ntotal].astype(np.int64)
        there = None
        if len(indexed):
            there = faiss.SearchParameters(sel=faiss.IDSelectorNot(faiss.IDSelectorBatch(indexed)))  # type: ignore[call-arg]
        return Space(torch.from_numpy(vectors), self.index, gone, there)

    def rewrite(self, codes: Codes, vectors: Floats) -> None:
        """Let the index find the rows `codes` (M,), as far as it has them, by other `vectors` (M, D).

        Whoever searches meanwhile may find such a row by either. The index must be a `flat_index`.
        """
        index = self.index
        assert isinstance(index, faiss.IndexFlatCodes)
        rows = faiss.rev_swig_ptr(index.codes.data(), index.codes.size()).reshape(index.ntotal, index.code_size)
        indexed = codes < index.ntotal
        rows[codes[indexed]] = index.sa_encode(vectors[indexed])


@dataclass(frozen=True)
class Search:
    """Queries of a space by users who shall not get what they have seen."""

    space: Space
    queries: Floats  # (B, D)
    seen: Codes  # (B, S)
    products: Floats | None  # (B, N) with all items, where that is cheaper than the index; of items seen, -inf

    def nearest(self, k: int) -> Codes:
        """The k unseen items of largest inner product, best first (B, k); where there are fewer, seen ones or -1."""
        if k == 0:
            return np.empty((len(self.queries), 0), dtype=np.int32)
        if self.products is not None:
            return largest(self.products, k)
        wanted = min(k + self.seen.shape[1], len(self.space.vectors))
        codes = self._scan(wanted)
        unseen_first = np.argsort(among(codes, self.seen), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(codes, unseen_first, axis=1)

    def _scan(self, wanted: int) -> Codes:
        space, queries = self.space, self.queries
        indexed = space.index.ntotal
        scores, codes = space.index.search(queries, min(wanted, indexed), params=space.there)
        if indexed < len(space.vectors):
            behind = torch.mm(torch.from_numpy(queries), space.vectors[indexed:].T).numpy()
            behind[:, space.gone[space.gone >= indexed] - indexed] = -np.inf
            places = np.broadcast_to(np.arange(indexed, len(space.vectors)), behind.shape)
            scores, codes = np.concatenate([scores, behind], axis=1), np.concatenate([codes, places], axis=1)
            codes = np.take_along_axis(codes, np.argsort(-scores, axis=1, kind="stable")[:, :wanted], axis=1)
        return codes.astype(np.int32)

    def of(self, codes: Codes) -> Floats:
        """The inner products with the items `codes` (B, C)."""
        if self.products is not None:
            return np.take_along_axis(self.products, codes, axis=1)
        return torch.bmm(rows_of(self.space.vectors, codes), torch.from_numpy(self.queries)[:, :, None])[..., 0].numpy()


def search(space: Space, queries: Floats, seen: Codes) -> Search:
    """A search of `space`; where all products are computed, items `seen` (B, S) are out of it."""
    if len(queries) < DENSE_BATCH or len(space.vectors) > DENSE_ITEMS:
        return Search(space, queries, seen, None)
    products = torch.mm(torch.from_numpy(queries), space.vectors.T).numpy()
    rows, place = np.nonzero(seen >= 0)
    products[rows, seen[rows, place]] = -np.inf
    if len(space.gone):
        products[:, space.gone] = -np.inf
    return Search(space, queries, seen, products)


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
