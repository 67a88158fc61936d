"""The parts of a bundle that serving computes with, as ready arrays and programs.

N items, D vector width, P profile width, K neighbours, H ranker width, T heads, G categories. Each deployment loads
only its own parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from tastemaker import columns
from tastemaker.attributes import Attributes, published
from tastemaker.bundle import Bundle
from tastemaker.candidates import no_codes
from tastemaker.errors import InvalidInput
from tastemaker.features import kin
from tastemaker.features.fold_in import ItemFactors
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.heads import HeadWeights
from tastemaker.popular import PopularTable
from tastemaker.retrieval import Retrieval
from tastemaker.space import Space
from tastemaker_serving.stages.newcomers import PopularLists

Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Program = Callable[..., torch.Tensor]

PERSONAL_PARTS = (
    "items",
    "user_tower",
    "item_vectors",
    "neighbours",
    "neighbour_weights",
    "popularity",
    "vocabulary",
    "recipe",
    *kin.PARTS,
)
RETRIEVAL_PARTS = (
    "items",
    "item_vectors",
    "index",
    "als_factors",
    "als_gram",
    "content_vectors",
    "content_idf",
    "content_directions",
    "neighbours",
    "neighbour_weights",
    "popularity",
    "vocabulary",
    "recipe",
)
RANKER_PARTS = ("items", "ranker", "ranker_items", "recipe", *kin.PARTS)
USER_TOWER_PARTS = ("user_tower", "vocabulary", "recipe")
"""What each deployment reads, so that it checks only those files."""


@dataclass(frozen=True)
class Personal:
    """What the Recommender needs: users in, titles and reasons out."""

    item_ids: list[str]
    titles: list[str]
    index: KeyIndex
    attributes: Attributes
    vocabulary: list[str]
    tower: Program  # history, preference, age (B, L), user (B, 2), profile (B, P) → (B, D)
    user_buckets: int
    unit_vectors: torch.Tensor  # (N, D) f32, rows of length 1
    neighbours: Codes  # (N, K), -1 where there are fewer
    neighbour_weights: Floats  # (N, K)
    popular: PopularLists
    stand_ins: Codes = field(default_factory=no_codes)
    """(M,) what the user tower takes each of the last M items for, which are newer than it; -1 for nothing."""


@dataclass(frozen=True)
class RankingModel:
    """What the Ranker needs."""

    program: Program  # user vectors (B, D), profile (B, P), item halves (B, C, H), cross (B, C, F) → (B, C, T)
    item_half: torch.Tensor  # (N, H) f16: half the memory, and no slower to gather
    weights: torch.Tensor  # (T,) of the heads' probabilities in a score, 1 together


def use_threads(threads: int) -> None:
    """Limit the kernels of this process. Beyond the cores that a replica owns, OpenMP's spinning costs tenfold."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


def load_personal(bundle: Bundle) -> Personal:
    """Load what the Recommender needs."""
    items = bundle.items()
    attributes = Attributes.of(items)
    return Personal(
        item_ids=items[columns.ITEM_ID].to_pylist(),
        titles=items[columns.TITLE].to_pylist(),
        index=attributes.index,
        attributes=attributes,
        vocabulary=bundle.json("vocabulary"),
        tower=load_user_tower(bundle),
        user_buckets=user_buckets(bundle),
        unit_vectors=torch.nn.functional.normalize(_tensor(bundle, "item_vectors"), dim=1),
        neighbours=_array(bundle, "neighbours", np.int32),
        neighbour_weights=_array(bundle, "neighbour_weights", np.float32),
        popular=PopularLists.of(bundle.json("popularity")),
    )


def load_user_tower(bundle: Bundle) -> Program:
    """Load the program that `Personal.tower` describes, alone."""
    return _program(bundle, "user_tower")


def user_buckets(bundle: Bundle) -> int:
    """How many buckets the user tower hashes user ids into."""
    return int(bundle.json("recipe")["two_tower"]["user_buckets"])


def load_retrieval(bundle: Bundle, popular: int) -> Retrieval:
    """Load what the CandidateGenerator needs, with `popular` items for each segment."""
    als, content = (_array(bundle, part, np.float32) for part in ("als_factors", "content_vectors"))
    recipe = bundle.json("recipe")
    factors = ItemFactors(als, _array(bundle, "als_gram", np.float32), recipe["als"]["alpha"], recipe["liked"])
    return Retrieval(
        two_tower=Space(_tensor(bundle, "item_vectors"), faiss.read_index(str(bundle.file("index")))),
        factors=factors,
        als=Space.of(als),
        content=Space.of(content),
        neighbours=_array(bundle, "neighbours", np.int32),
        neighbour_weights=_array(bundle, "neighbour_weights", np.float32),
        popular=PopularTable.of(bundle.json("popularity"), bundle.json("vocabulary"), popular),
        published=published(bundle.items()),
    )


def load_ranker(bundle: Bundle, weights: HeadWeights) -> RankingModel:
    """Load what the Ranker needs.

    Raises:
        InvalidInput: no head of the bundle has a weight.
    """
    heads: list[str] = bundle.json("recipe")["heads"]
    known = torch.tensor([getattr(weights, head) for head in heads])
    if known.sum() == 0:
        raise InvalidInput(
            f"serving.funnel.head_weights gives weight to no head of the bundle, which has {', '.join(heads)}",
            f"Set TASTEMAKER_SERVING__FUNNEL__HEAD_WEIGHTS__{heads[0].upper()}=1",
        )
    item_half = torch.from_numpy(_array(bundle, "ranker_items", np.float16))
    return RankingModel(program=_program(bundle, "ranker"), item_half=item_half, weights=known / known.sum())


def _program(bundle: Bundle, part: str) -> Program:
    return torch.export.load(bundle.file(part)).module()


def _tensor(bundle: Bundle, part: str) -> torch.Tensor:
    return torch.from_numpy(_array(bundle, part, np.float32))


def _array(bundle: Bundle, part: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.array(bundle.array(part), dtype=dtype)
