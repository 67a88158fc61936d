"""A first bundle for a platform without events: a donor's item vectors, brought over to our catalogue.

An item that the donor has takes its vector; another the mean vector of the donor's items that are most like it by
content. Users are means of what they like, neighbours are near vectors, and what was popular there is popular here.

N items of ours, M of the donor's, D vector width, K neighbours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from tastemaker import bundle, columns
from tastemaker.config import Settings
from tastemaker.demographics import DEMOGRAPHIC
from tastemaker.errors import InvalidInput
from tastemaker.features import vocabulary
from tastemaker.features.definitions import SERVICE, schema_hash
from tastemaker.features.profile import profile_width
from tastemaker.features.store import publish_embeddings
from tastemaker.heads import HEADS
from tastemaker.lake import Lake
from tastemaker.papers import CARD, Papers
from tastemaker.promotion import crown, waive
from tastemaker.registry import CHALLENGER, CHAMPION, ITEMS, Registry
from tastemaker.space import flat_index
from tastemaker.types import ModelRef
from tastemaker_training import recipes
from tastemaker_training.dataset import category_matrix
from tastemaker_training.interactions import Floats
from tastemaker_training.narrator import Narrator
from tastemaker_training.sources import content
from tastemaker_training.sources.popularity import NAMED
from tastemaker_training.transfer.card import import_card
from tastemaker_training.transfer.catalogue_match import Match, match
from tastemaker_training.transfer.donor import Donor
from tastemaker_training.transfer.models import AverageTower, export_blend, export_tower

LIKE: Final = 10
"""Items of the donor that make the vector of one that it does not have."""
PASS: Final = 1024
"""Items searched for at once."""
UNEVALUATED: Final = "imported: there are no events of our own yet to evaluate it on"


@dataclass(frozen=True)
class Brought:
    """What the donor's vectors became."""

    vectors: Floats  # (N, D) of length 1 on average; zero for an item that nothing is known of
    match: Match
    from_content: int  # items whose vector is that of similar ones
    unknown: int  # items without a vector


def import_model(donor: Donor, settings: Settings, narrator: Narrator) -> tuple[ModelRef, dict[str, Any]]:
    """Make a bundle of the donor's vectors and register it; returns its version and how items were matched.

    It is the challenger, and the champion, too, where there is none.

    Raises:
        NotFound: there is no catalogue.
        InvalidInput: none of the donor's items is one of ours, or like one.
        Unavailable: the registry does not answer.
    """
    lake = Lake(settings.lake)
    with narrator.step("Items of ours among theirs") as tell:
        items = lake.items()
        found = match(items, donor.items, same_ids=donor.same_ids)
        brought = bring(items, donor, found)
        report = {"donor": donor.name, "items": items.num_rows, "donor_items": donor.items.num_rows} | found.counts()
        report |= {"from_content": brought.from_content, "without_vector": brought.unknown}
        tell(f"{items.num_rows - report['unmatched']:,} of {items.num_rows:,} found")
    names = vocabulary.extend(lake, {name for of in items[columns.CATEGORIES].to_pylist() for name in of or () if name})
    settings.home.mkdir(parents=True, exist_ok=True)
    with narrator.step("Bundle") as tell, tempfile.TemporaryDirectory(dir=settings.home) as scratch:
        parts = bundle_parts(items, names, donor, brought, Path(scratch))
        parts |= {"report": {"imported": report, "not_evaluated": UNEVALUATED}}
        draft, now = Path(scratch) / "imported", datetime.now(UTC)
        _write(draft, parts, now)
        card = Path(scratch) / "model_card.md"
        card.write_text(import_card(bundle.read(draft, only=()).manifest, report))
        _write(draft, {**parts, CARD: card}, now)
        registry = Registry(settings)
        parameters = {"recipe": "imported", "donor": donor.name, ITEMS: str(items.num_rows)}
        matched = {"matched": 1 - report["unmatched"] / items.num_rows}
        ref = registry.register(draft, matched, parameters, CHALLENGER, Papers(card.read_text()))
        if not registry.has(CHAMPION):
            waive(registry, ref.version, UNEVALUATED)
            crown(registry, ref.version)
        tell(str(ref))
    publish_embeddings(lake, items[columns.ITEM_ID].to_pylist(), brought.vectors, now)
    return ref, report | {"champion": registry.resolve(CHAMPION).version == ref.version}


def _write(path: Path, parts: dict[str, bundle.PartValue], now: datetime) -> None:
    """Write the bundle; its data window is empty."""
    bundle.write(path, parts, feature_service=SERVICE, feature_schema=schema_hash(), data_window=(now, now))


def bring(items: pa.Table, donor: Donor, found: Match) -> Brought:
    """The donor's vectors for the catalogue `items`.

    Their mean is taken away first: what all vectors share says nothing of any, and without it cosines tell items apart
    (Mu and Viswanath 2018). Their lengths stay: a donor's model gives short vectors to items that it knows little of.

    Raises:
        InvalidInput: none of the donor's items is one of ours, or like one.
    """
    theirs = donor.vectors - donor.vectors.mean(axis=0)
    theirs /= max(float(np.linalg.norm(theirs, axis=1).mean()), 1e-9)
    vectors = np.zeros((items.num_rows, theirs.shape[1]), dtype=np.float32)
    has = found.theirs >= 0
    vectors[has] = theirs[found.theirs[has]]
    missing = np.flatnonzero(~has)
    if len(missing):
        vectors[missing] = _of_similar(items.take(missing), donor.items, theirs)
    is_known = vectors.any(axis=1)
    if not is_known.any():
        ours, others = (table[columns.ITEM_ID][0].as_py() for table in (items, donor.items))
        raise InvalidInput(
            f"none of the {items.num_rows} items of the catalogue is among the {donor.items.num_rows} of {donor.name}, "
            f"nor like one: ours begin with {ours!r}, theirs with {others!r}",
            "Give vectors under our item ids, or with the columns title, release_year, categories, text",
        )
    return Brought(vectors, found, int((is_known & ~has).sum()), int((~is_known).sum()))


def bundle_parts(
    items: pa.Table, names: list[str], donor: Donor, brought: Brought, scratch: Path
) -> dict[str, bundle.PartValue]:
    """Every part of the bundle but the report."""
    user_tower, ranker, index_file = (scratch / name for name in ("tower.pt2", "ranker.pt2", "index.faiss"))
    popularity = carried(donor.popularity, brought.match, items, names)
    strength = _strength(popularity["overall"], items.num_rows)
    vectors, profile = brought.vectors, profile_width(len(names))
    about = content.fit(items, recipes.default().content, seed=0)
    tower = AverageTower(vectors, _unit((strength @ vectors)[None])[0])
    torch.export.save(export_tower(tower, profile), user_tower)
    torch.export.save(export_blend(vectors.shape[1], profile), ranker)
    recipe = replace(recipes.default(), name="imported")
    index = flat_index(vectors)
    faiss.write_index(index, str(index_file))
    codes, weights = near(_unit(vectors), recipe.neighbours.neighbours)
    return {
        "items": items,
        "item_vectors": vectors,
        "index": index_file,
        # Vectors of things that go together are factors, too: what a user's best fit to them is, serving solves for.
        "als_factors": vectors,
        "als_gram": vectors.T @ vectors + np.eye(vectors.shape[1], dtype=np.float32),
        "content_vectors": about.vectors,
        "content_idf": about.projection.idf,
        "content_directions": about.projection.directions.astype(np.float16),
        "neighbours": codes,
        "neighbour_weights": weights,
        "user_tower": user_tower,
        "ranker": ranker,
        "ranker_items": strength[:, None].astype(np.float16),
        "popularity": popularity,
        "vocabulary": names,
        "recipe": asdict(recipe) | {"user_buckets": recipe.two_tower.user_buckets, "heads": HEADS[:1]},
    }


def carried(document: Mapping[str, Any], found: Match, items: pa.Table, names: list[str]) -> dict[str, Any]:
    """The donor's popularity document over our codes; lists by category and segment are made for ours."""
    ours = np.full(int(found.theirs.max(initial=-1)) + 1, -1, np.int64)
    ours[found.theirs[found.theirs >= 0]] = np.flatnonzero(found.theirs >= 0)

    def translated(codes: list[int]) -> list[int]:
        return [int(ours[code]) for code in codes if code < len(ours) and ours[code] >= 0]

    overall = translated(document["overall"])
    member = category_matrix(items, names) > 0
    by_name = {name: [code for code in overall if member[code, place]][:NAMED] for place, name in enumerate(names)}
    segments = {
        column: {value: translated(codes) for value, codes in lists.items()}
        for column, lists in document.get(DEMOGRAPHIC, {}).items()
    }
    return {"overall": overall, "category": by_name, "segment": by_name, DEMOGRAPHIC: segments}


def near(vectors: Floats, k: int) -> tuple[npt.NDArray[np.int32], Floats]:
    """The item-to-item table (N, K) of positive cosines, best first, never the item itself: codes and weights.

    Args:
        vectors: (N, D) of length 1.
    """
    index = flat_index(vectors)
    k = min(k, len(vectors) - 1)
    codes, weights = np.full((len(vectors), k), -1, np.int32), np.zeros((len(vectors), k), np.float32)
    for start in range(0, len(vectors), PASS):
        rows = slice(start, start + PASS)
        cosines, found = index.search(vectors[rows], k + 1)
        cosines[found == np.arange(start, start + len(found))[:, None]] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        cosines, found = np.take_along_axis(cosines, order, axis=1), np.take_along_axis(found, order, axis=1)
        codes[rows], weights[rows] = np.where(cosines > 0, found, -1), np.maximum(cosines, 0)
    return codes, weights


def _of_similar(items: pa.Table, theirs: pa.Table, vectors: Floats) -> Floats:
    """For each of `items` the mean vector of the `LIKE` of theirs nearest by content, weighted by cosine."""
    names = (columns.TITLE, columns.TEXT, columns.CATEGORIES)
    both = pa.concat_tables([table.select(names) for table in (theirs, items)])
    space = content.fit(both, recipes.default().content, seed=0).vectors
    index = flat_index(space[: theirs.num_rows])
    means = np.zeros((items.num_rows, vectors.shape[1]), dtype=np.float32)
    for start in range(0, items.num_rows, PASS):
        rows = slice(start, start + PASS)
        cosines, found = index.search(space[theirs.num_rows :][rows], min(LIKE, theirs.num_rows))
        weights = np.maximum(cosines, 0)
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        means[rows] = np.einsum("nk,nkd->nd", weights, vectors[found])
    return means


def _strength(overall: list[int], items: int) -> Floats:
    """How popular each item is, (N,) in [0, 1]: by the logarithm of its rank; 0 where nobody touched it."""
    strength = np.zeros(items, dtype=np.float32)
    strength[overall] = 1.0 - np.log1p(np.arange(len(overall))) / np.log1p(max(len(overall), 1))
    return strength


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
