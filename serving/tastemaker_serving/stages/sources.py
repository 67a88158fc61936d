"""Candidate sources: each proposes item codes for a batch of users, best first; `candidates.unite` makes one list.

B users, N items, D vector width, L history, k proposals of one source. A code of -1 is padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tastemaker.candidates import Candidates, Codes, Floats, Proposals, largest, unite
from tastemaker.features import cross
from tastemaker_serving.models import Retrieval, rows_of

DENSE_BATCH = 4
DENSE_ITEMS = 200_000
"""From this batch on, and up to this catalogue, one matrix product and a partial sort beat FAISS: at 50,000 by 256,
k = 1,000, one thread, an AVX2 core needs 0.9 ms of CPU per query in batches of 32, against 2.5 (fp16 flat scan) and
3.7 (product in bfloat16, which wants AVX-512). For one query the scan wins, 2.5 to 6; above, the index compresses."""


@dataclass(frozen=True)
class Wanted:
    """What the CandidateGenerator is asked for B users."""

    user_vectors: Floats  # (B, D)
    history: Codes  # (B, L) newest last
    preference: Floats  # (B, L) in [-1, 1]
    segment: Codes  # (B,) position in the vocabulary, -1 for unknown
    seen: Codes  # (B, S)
    excluded: Codes  # (B, X)


@dataclass(frozen=True)
class Signals:
    """What two of the sources say of every item."""

    item_to_item: Floats  # (B, N)
    recent: Floats  # (B, N)
    two_tower: Floats | None  # (B, N) inner products, where the search is exact over all of them


def signals(model: Retrieval, wanted: Wanted) -> Signals:
    """Scores of all items, computed once for retrieval and ranking."""
    return Signals(*votes(model, wanted), inner_products(model, wanted.user_vectors))


def votes(model: Retrieval, wanted: Wanted) -> tuple[Floats, Floats]:
    """What the whole histories and their newest events say of every item, (B, N) each."""
    table = model.neighbours, model.neighbour_weights
    lasting, recent = (
        cross.item_to_item(*table, wanted.history, wanted.preference, wanted.seen, memory)
        for memory in (cross.LASTING, cross.RECENT)
    )
    return lasting, recent


def inner_products(model: Retrieval, user_vectors: Floats) -> Floats | None:
    """The inner product of every user and item (B, N), or None where an index search is cheaper."""
    if len(user_vectors) < DENSE_BATCH or len(model.vectors) > DENSE_ITEMS:
        return None
    return torch.mm(torch.from_numpy(user_vectors), model.vectors.T).numpy()


def two_tower(model: Retrieval, user_vectors: Floats, products: Floats | None, k: int) -> Codes:
    """The k items with the largest inner product with the user's vector, (B, k)."""
    if products is None:
        return model.index.search(user_vectors, min(k, len(model.vectors)))[1].astype(np.int32)
    return largest(products, k)


def popular(model: Retrieval, segments: Codes) -> Codes:
    """The most popular items of each user's segment (B,), -1 for unknown; (B, k)."""
    return model.popular[segments]  # the table's last row, for everybody, is also its row -1


def propose(model: Retrieval, wanted: Wanted, found: Signals, limit: int) -> Proposals:
    """Ask every source and unite what they propose: `limit` items, and as many more as filters may take away."""
    spare = wanted.seen.shape[1] + wanted.excluded.shape[1]
    nearest = two_tower(model, wanted.user_vectors, found.two_tower, limit + spare)
    return unite(nearest, found.item_to_item, popular(model, wanted.segment), limit)


def with_signals(model: Retrieval, user_vectors: Floats, proposals: Proposals, found: Signals) -> Candidates:
    """Each proposal with what every source says of it, whoever proposed it."""
    codes = proposals.codes
    if found.two_tower is None:
        products = torch.bmm(rows_of(model.vectors, codes), torch.from_numpy(user_vectors)[:, :, None])[..., 0].numpy()
    else:
        products = np.take_along_axis(found.two_tower, codes, axis=1)
    lasting, recent = (np.take_along_axis(votes, codes, axis=1) for votes in (found.item_to_item, found.recent))
    return Candidates(codes, proposals.source, products, lasting, recent)
