from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.features.content import unit, word_counts
from tastemaker.features.kin import Kin, Relations
from tastemaker.lake import ITEM_SCHEMA

WORDS = 1024
FILMS = {"a": "space war", "b": "space opera", "c": "country house", "d": "country love", "e": "space war"}


def films(**titles: str) -> pa.Table:
    return pa.Table.from_pylist([{"item_id": name, "title": title} for name, title in titles.items()], ITEM_SCHEMA)


@pytest.fixture
def relations() -> Relations:
    """Every word is a direction; of film e nothing is known but its words."""
    directions = np.eye(WORDS, dtype=np.float32)
    content = unit(np.asarray(word_counts(films(**FILMS), WORDS).toarray(), dtype=np.float32))
    return Relations(np.ones(WORDS, np.float32), directions, content, np.array([[1], [1], [1], [1], [0]], np.float32))


def test_kin_are_about_the_same_and_known(relations: Relations) -> None:
    content = relations.content_of(films(new="space war", other="love", odd="xylophone"))
    kin = relations.kin(content)
    assert kin.codes[0, :2].tolist() == [0, 1]
    assert kin.weights[0, 0] > kin.weights[0, 1] > 0
    assert kin.codes[1, 0] == 3
    assert kin.weights.sum(axis=1).tolist() == pytest.approx([1, 1, 0])
    assert content.shape == (3, WORDS)


def test_rows_are_means_of_the_kin(relations: Relations) -> None:
    kin = relations.kin(relations.content_of(films(new="love", odd="xylophone")))
    table = np.arange(10, dtype=np.float16).reshape(5, 2)
    assert kin.mean(table).tolist() == [table[3].tolist(), [0, 0]]


def test_neighbours_are_the_kin_and_what_they_are_near_to() -> None:
    kin = Kin(np.array([[0, 1], [0, 1]]), np.array([[0.75, 0.25], [0, 0]], np.float32))
    table = np.array([[2, 3, -1], [3, -1, -1], [0, 1, 3], [0, -1, -1]], np.int32)
    weights = np.array([[0.5, 0.25, 0], [0.5, 0, 0], [1, 1, 1], [1, 0, 0]], np.float32)
    codes, strength = kin.neighbours(table, weights)
    assert codes.tolist() == [[0, 2, 3], [-1, -1, -1]]
    assert strength[0].tolist() == pytest.approx([0.375, 0.375, 0.3125])


def test_a_small_catalogue_lends_what_it_has(relations: Relations) -> None:
    alone = replace(relations, content=relations.content[:1], factors=relations.factors[:1])
    assert alone.kin(alone.content_of(films(new="space"))).codes.tolist() == [[0]]
    assert alone.kin(alone.content_of(films())).codes.shape == (0, 1)
