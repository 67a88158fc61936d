"""A benchmark problem: what models may learn from, whom they are asked about, and what counts as a hit.

U users, N items, V users of the test, n places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker import columns
from tastemaker.lake import ITEM_SCHEMA
from tastemaker_training.evaluation.metrics import Judgements, ndcg_per_user, recall_per_user
from tastemaker_training.evaluation.slates import Slates
from tastemaker_training.interactions import Interactions, Ints, Split
from tastemaker_training.sources.source import Source

PASS = 512
"""Users scored at once: at 50,000 items their scores take 100 MB."""

Holdout = Callable[[Interactions, int], Split]
"""Cuts interactions into what is learnt from and what is held out, by a seed: validation is cut as the test was."""


@dataclass(frozen=True)
class Problem:
    """One split of one data set."""

    train: Interactions  # what models may be fitted to
    known: Interactions  # histories at test time, of the same users and items
    items: pa.Table  # the catalogue in code order, lake.ITEM_SCHEMA
    truth: Judgements  # of the V users of the test
    places: int  # n
    hit_name: str  # what the share of found relevant items is called in this convention: recall or hr
    holdout: Holdout

    def measure(self, source: Source, tell: Callable[[str], None]) -> dict[str, npt.NDArray[np.float64]]:
        """Every metric per user of the test, shape (V,) each. All items compete but those of the user's history."""
        passes = []
        for start in range(0, len(self.truth.users), PASS):
            tell(f"asked about {start:,} of {len(self.truth.users):,} users")
            passes.append(slates_of(source, self.known, self.truth.users[start : start + PASS], self.places))
        slates = np.concatenate(passes)
        return {
            f"{self.hit_name}@{self.places}": recall_per_user(slates, self.truth),
            f"ndcg@{self.places}": ndcg_per_user(slates, self.truth),
        }


def slates_of(source: Source, known: Interactions, users: Ints, n: int) -> Slates:
    """The n best items (B, n) that `source` finds for `users` (B,) and that their histories in `known` lack.

    -1 stands where there are fewer.
    """
    scores = source.scores(known, users)
    for row, user in enumerate(users):
        scores[row, known.items[known.of(user)]] = -np.inf
    n = min(n, scores.shape[1])
    places = np.argpartition(-scores, n - 1, axis=1)[:, :n]
    order = np.argsort(-np.take_along_axis(scores, places, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(places, order, axis=1)
    return np.where(np.take_along_axis(scores, best, axis=1) > -np.inf, best, -1).astype(np.int32)


def bare_catalogue(item_ids: list[str], words: dict[str, str] | None = None) -> pa.Table:
    """A catalogue of which nothing is known but the ids, and the `words` of some items."""
    described = words or {}
    columns_given = {
        columns.ITEM_ID: pa.array(item_ids, pa.string()),
        columns.TITLE: pa.array([""] * len(item_ids), pa.string()),
        columns.TEXT: pa.array([described.get(item) for item in item_ids], pa.string()),
    }
    missing = [field for field in ITEM_SCHEMA if field.name not in columns_given]
    nulls = {field.name: pa.nulls(len(item_ids), field.type) for field in missing}
    return pa.table({**columns_given, **nulls}).select(ITEM_SCHEMA.names)
