from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tastemaker import columns
from tastemaker.lake import ITEM_SCHEMA
from tastemaker_training.transfer.catalogue_match import WAYS, match, title_key


def catalogue(*items: tuple[str, str | None, int | None], **more: Any) -> pa.Table:
    """Items of (id, title, year); `more` are the same for all."""
    rows = [
        {columns.ITEM_ID: item, columns.TITLE: title, columns.RELEASE_YEAR: year, **more} for item, title, year in items
    ]
    return pa.Table.from_pylist(rows, ITEM_SCHEMA)


def found(ours: pa.Table, theirs: pa.Table, *, same_ids: bool = False) -> dict[str, tuple[str, str]]:
    """Ours to (theirs, way)."""
    matched = match(ours, theirs, same_ids=same_ids)
    names, others = (table[columns.ITEM_ID].to_pylist() for table in (ours, theirs))
    return {
        names[code]: (others[other], WAYS[way])
        for code, (other, way) in enumerate(zip(matched.theirs, matched.way, strict=True))
        if other >= 0
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Matrix", "Matrix, The (1999)"),
        ("Amélie", "AMELIE"),
        ("Spider-Man: Far from Home", "spider man far from home"),
    ],
)
def test_titles_are_the_same_however_they_are_written(one: str, other: str) -> None:
    assert title_key(one) == title_key(other)


def test_ids_count_only_where_both_sides_mean_the_same_by_them() -> None:
    ours, theirs = catalogue(("1", "Heat", 1995)), catalogue(("1", "Solaris", 1972), ("2", "Heat", 1995))
    assert found(ours, theirs) == {"1": ("2", "title")}
    assert found(ours, theirs, same_ids=True) == {"1": ("1", "id")}


def test_a_year_tells_films_of_one_title_apart_and_what_stays_doubtful_stays_unmatched() -> None:
    ours = catalogue(
        ("old", "Solaris", 1972), ("new", "Solaris", 2002), ("undated", "Heat", None), ("two", "Crash", None)
    )
    theirs = catalogue(
        ("b", "Solaris", 2002), ("a", "Solaris", 1972), ("h", "Heat", 1995), ("c", "Crash", 1996), ("d", "Crash", 2004)
    )
    assert found(ours, theirs) == {"old": ("a", "title"), "new": ("b", "title"), "undated": ("h", "title")}


def test_what_is_written_otherwise_is_found_by_its_rare_words_if_each_is_the_others_nearest() -> None:
    ours = catalogue(("o", "Grumpier Old Men remastered", None), ("p", "Grumpier", None), ("q", "Nobody Knows", None))
    theirs = catalogue(("t", "Grumpier Old Men", 1995), ("s", "Seven Samurai", 1954))
    assert found(ours, theirs) == {"o": ("t", "content")}


def test_catalogues_without_titles_match_nothing() -> None:
    assert found(catalogue(("a", None, None)), catalogue(("b", None, 1990), ("c", "", None))) == {}
