from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.catalogue.tables import ITEM_SCHEMA, as_items
from tastemaker.changes import tables
from tastemaker.changes.log import Change
from tastemaker.types import Item


def changes(*wanted: tuple[int, str, str | None]) -> pa.Table:
    """A change for each (version, item, title or None where it was removed)."""
    found = [Change(version, item, None if title is None else Item(item, title)) for version, item, title in wanted]
    return tables.to_arrow(found, ITEM_SCHEMA)


def titles(items: pa.Table) -> dict[str, str]:
    return dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))


def test_the_newest_change_of_an_item_counts_whichever_table_holds_it() -> None:
    items = pa.Table.from_pylist([{"item_id": "a", "title": "A"}, {"item_id": "b", "title": "B"}], ITEM_SCHEMA)
    found = tables.changed(items, [changes((3, "a", "new"), (4, "c", "C")), changes((2, "a", "old"), (5, "b", None))])

    assert titles(found) == {"a": "new", "c": "C"}
    assert found.schema.equals(ITEM_SCHEMA)
    assert tables.version_of(found) == 5


def test_changes_that_the_items_hold_already_change_nothing() -> None:
    items = tables.at_version(pa.Table.from_pylist([{"item_id": "a", "title": "imported"}], ITEM_SCHEMA), 3)
    assert titles(tables.changed(items, [changes((3, "a", "older"))])) == {"a": "imported"}


def test_a_version_stays_through_a_file(tmp_path: Path) -> None:
    pq.write_table(tables.at_version(ITEM_SCHEMA.empty_table(), 7), tmp_path / "items.parquet")
    assert tables.version_of(as_items(pq.read_table(tmp_path / "items.parquet"))) == 7
    assert tables.version_of(ITEM_SCHEMA.empty_table()) == 0


OPERATIONS = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.sampled_from(["x", "y", "z"])), max_size=12)


@given(OPERATIONS, st.randoms())
def test_changes_in_any_order_and_twice_give_what_happened(
    operations: list[tuple[str, str | None]], random: object
) -> None:
    log = [(version, item, title) for version, (item, title) in enumerate(operations, start=1)]
    expected = {item: title for item, title in operations if title is not None}
    for item, title in operations:
        if title is None:
            expected.pop(item, None)
        else:
            expected[item] = title
    doubled = [*log, *log]
    random.shuffle(doubled)  # type: ignore[attr-defined]
    halves = [changes(*doubled[::2]), changes(*doubled[1::2])]
    assert titles(tables.changed(ITEM_SCHEMA.empty_table(), halves)) == expected
