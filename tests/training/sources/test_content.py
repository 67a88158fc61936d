from __future__ import annotations

import numpy as np
import pyarrow as pa
from tests.training.histories import interactions_of

from tastemaker import columns
from tastemaker_training.recipes import ContentRecipe
from tastemaker_training.sources import content

RECIPE = ContentRecipe(dim=8)


def catalogue(*titles: str, categories: list[list[str]] | None = None) -> pa.Table:
    return pa.table(
        {
            columns.ITEM_ID: [f"i{place}" for place in range(len(titles))],
            columns.TITLE: titles,
            columns.TEXT: pa.nulls(len(titles), pa.string()),
            columns.CATEGORIES: pa.array(categories or [[]] * len(titles), pa.list_(pa.string())),
        }
    )


ITEMS = catalogue("space war", "space ship", "love story", "love letter", "war story")


def test_items_that_share_words_are_near() -> None:
    vectors = content.fit(ITEMS, RECIPE, seed=0).vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3]


def test_categories_are_words_too() -> None:
    items = catalogue("a", "b", "c", categories=[["drama"], ["drama"], ["comedy"]])
    vectors = content.fit(items, RECIPE, seed=0).vectors
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_a_new_item_is_near_its_like_without_a_fit() -> None:
    model = content.fit(ITEMS, RECIPE, seed=0)
    (new,) = model.projection.vectors(catalogue("Space!"))
    assert new @ model.vectors[1] > 0.5 > new @ model.vectors[2]


def test_an_item_without_a_known_word_has_no_direction() -> None:
    model = content.fit(ITEMS, RECIPE, seed=0)
    assert not model.projection.vectors(catalogue("zzz")).any()
    assert not content.fit(catalogue("", ""), RECIPE, seed=0).vectors.any()


def test_scores_follow_what_was_liked_lately() -> None:
    model = content.fit(ITEMS, RECIPE, seed=0)
    known = interactions_of([2, 0], [0, 2], items=5)
    scores = model.scores(known, np.array([0, 1]))
    assert scores[0, 1] > scores[0, 3]
    assert scores[1, 3] > scores[1, 1]
