from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.catalogue import schema
from tastemaker.errors import InvalidInput
from tastemaker.types import Item

ITEM = {"item_id": "a", "title": "One"}


def parse(document: Any) -> list[Item]:
    return schema.parse(json.dumps(document).encode())


def test_an_item_is_what_was_sent_and_nothing_else() -> None:
    sent = ITEM | {
        "categories": ["Drama", "Crime", "Drama"],
        "author": "Ann",
        "published_at": "2026-01-31T18:00:00+02:00",
        "available": False,
    }
    published = datetime(2026, 1, 31, 16, tzinfo=UTC)
    whole = Item("a", "One", ("Drama", "Crime"), author="Ann", published_at=published, available=False)
    assert parse([sent, {"item_id": "b", "title": "Two"}]) == [whole, Item("b", "Two")]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (ITEM, "the body is .* Send a list of at least one item"),
        ([], r"the body is \[\]. Send a list of at least one item"),
        ([ITEM, "b"], "item 1: 'b' is not an object. Send item_id, title"),
        ([{"item_id": "a"}], "item 0: title is missing. Send a string of 1 to 1000"),
        ([ITEM | {"titel": "x"}], "item 0: unknown field 'titel'. Known fields are item_id, title, categories"),
        ([ITEM | {"item_id": ""}], "item 0: item_id is ''. Send a string of 1 to 128"),
        ([ITEM | {"item_id": 7}], "item 0: item_id is 7"),
        ([ITEM | {"categories": "Drama"}], "item 0: categories is 'Drama'. Send a list of at most 50"),
        ([ITEM | {"categories": ["x", ""]}], r"item 0: categories is \['x', ''\]"),
        ([ITEM | {"published_at": "2026-01-31"}], "item 0: published_at is '2026-01-31'. Send RFC 3339"),
        ([ITEM | {"published_at": "0001-01-01T00:00:00+23:00"}], "item 0: published_at .* from 1970"),
        ([ITEM | {"published_at": "9999-12-31T23:59:59-23:00"}], "item 0: published_at"),
        ([ITEM | {"content_length_min": -1}], "item 0: content_length_min is -1"),
        ([ITEM | {"available": "no"}], "item 0: available is 'no'. Send true or false"),
        ([ITEM, ITEM], "item 1: item 0 has the item_id 'a', too. Send it once"),
        ([ITEM] * 1001, "1001 items in one request. Send at most 1000"),
    ],
)
def test_a_refusal_says_what_to_change(document: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse(document)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not JSON"):
        schema.parse(b"[{")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ITEM, "author", "x"]), inner),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_sent_is_taken_or_refused_with_a_remedy(document: Any) -> None:
    remedy, taken = None, None
    try:
        taken = len(parse(document))
    except InvalidInput as error:
        remedy = error.remedy
    assert remedy or taken == len(document)
