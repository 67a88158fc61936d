from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.attributes import Attributes
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.types import Item

MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)


def item(item_id: str, **known: object) -> dict[str, object]:
    return dict.fromkeys(ITEM_SCHEMA.names) | {"item_id": item_id, "title": item_id} | known


@pytest.fixture
def attributes() -> Attributes:
    rows = [
        item("a", categories=["Drama", "War"], author="Ana", published_at=MORNING, release_year=1999),
        item("b", categories=[], author="Bo", release_year=1970),
        item("c", categories=None),
        item("d", categories=["War"], author="Ana", release_year=1969),
    ]
    return Attributes.of(pa.Table.from_pylist(rows, ITEM_SCHEMA))


def test_items_are_named_by_id_category_and_author(attributes: Attributes) -> None:
    assert attributes.named(["c", "nowhere"], [], []).tolist() == [False, False, True, False]
    assert attributes.named([], ["War", "Sport"], []).tolist() == [True, False, False, True]
    assert attributes.named([], [], ["Bo", "Nobody"]).tolist() == [False, True, False, False]
    assert attributes.named(["b"], ["Drama"], ["Bo"]).tolist() == [True, True, False, False]
    assert not attributes.named([], [], []).any()


def test_an_item_without_a_time_of_publication_is_as_old_as_its_year(attributes: Attributes) -> None:
    year = 365 * 86_400
    assert attributes.published[[0, 1, 3]].tolist() == [MORNING.timestamp(), 0, -year]
    assert np.isnan(attributes.published[2])


def test_an_empty_catalogue_has_no_attributes() -> None:
    nothing = Attributes.of(ITEM_SCHEMA.empty_table())
    assert nothing.named(["a"], ["War"], ["Ana"]).tolist() == []


def test_attributes_change_with_the_catalogue(attributes: Attributes) -> None:
    new = Item("new", "New", ("Sport", "War", "Love"), author="Cy", published_at=MORNING)
    changed = {4: new, 1: Item("b", "b", ("War",), release_year=1970)}
    after = attributes.changed(["new"], changed, gone=np.array([0, 4], dtype=np.int32))
    assert after.named(["new"], ["Sport"], []).tolist() == [False, False, False, False, True]
    assert after.named([], ["War"], []).tolist() == [True, True, False, True, True]
    assert after.named([], [], ["Bo", "Cy"]).tolist() == [False, False, False, False, True]
    assert after.published[[0, 1, 4]].tolist() == [MORNING.timestamp(), 0, MORNING.timestamp()]
    assert attributes.named([], ["War"], []).tolist() == [True, False, False, True]
    assert after.gone.tolist() == [True, False, False, False, True]
    assert not attributes.gone.any()
