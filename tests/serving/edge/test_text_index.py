from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tastemaker import columns
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.types import Item
from tastemaker_serving.edge.text_index import TextIndex

FILMS: list[dict[str, Any]] = [
    {"item_id": "1", "title": "Star Wars", "categories": ["Sci-Fi"], "author": "George Lucas"},
    {"item_id": "2", "title": "Star Trek", "categories": ["Sci-Fi"], "text": "A crew among the stars, and no wars"},
    {"item_id": "3", "title": "Amélie", "categories": ["Comedy"], "author": "Jean-Pierre Jeunet"},
    {"item_id": "4", "title": "The Godfather", "categories": ["Crime"], "text": "A family"},
    {"item_id": "5", "title": "Crime Story", "categories": None, "text": None},
    {"item_id": "6", "title": "千と千尋の神隠し"},
    {"item_id": "7", "title": "It"},
]


@pytest.fixture
def index() -> TextIndex:
    rows = [{name: film.get(name) for name in ITEM_SCHEMA.names} for film in FILMS]
    return TextIndex.of(pa.Table.from_pylist(rows, ITEM_SCHEMA), popular=[1, 0])


def found(index: TextIndex, query: str, limit: int = 10) -> list[str]:
    return [hit.item_id for hit in index.search(query, limit)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("star wars", ["1", "2"]),  # a title says more than a text
        ("george", ["1"]),
        ("WARS star", ["1", "2"]),
        ("lucas", ["1"]),
        ("family", ["4"]),
        ("sci-fi wars", ["1", "2"]),
        ("amelie", ["3"]),
        ("god", ["4"]),  # unfinished
        ("the godf", ["4"]),
        ("godfahter", ["4"]),  # misspelt
        ("千と千尋", ["6"]),
        ("amelie xyzzy", ["3"]),  # some of the words
        ("crime", ["5", "4"]),
        ("is", []),  # two letters are no misspelling of another two
        ("xyzzy", []),
        ("!?", []),
    ],
)
def test_what_a_query_finds(index: TextIndex, query: str, expected: list[str]) -> None:
    assert found(index, query) == expected


def test_of_equal_matches_the_popular_one_comes_first(index: TextIndex) -> None:
    assert found(index, "star") == ["2", "1"]
    assert found(index, "star", limit=1) == ["2"]


def test_items_come_change_and_go(index: TextIndex) -> None:
    index.put([Item("8", "Solaris", ("Sci-Fi",), author="Stanisław Lem"), Item("1", "A New Hope")])
    assert found(index, "stanislaw") == found(index, "solaris") == ["8"]
    assert (found(index, "wars"), found(index, "new hope")) == (["2"], ["1"])
    index.remove(["8", "1", "never there"])
    assert found(index, "solaris") == found(index, "new hope") == []


def test_many_small_changes_are_all_there(index: TextIndex) -> None:
    for number in range(30):
        index.put([Item(f"new-{number}", f"Novelty {number}")])
    assert len(found(index, "novelty", limit=100)) == 30


def test_no_query_is_a_mistake(index: TextIndex) -> None:
    for query in ('"', "title:star", "star AND (", "a" * 500, "w " * 500, "\x00", "*", "-star", "\U0001f600"):
        index.search(query, 5)
    assert found(index, "title:star")[:1] != []
    assert columns.TITLE not in found(index, "title:star")
