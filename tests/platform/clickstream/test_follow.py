"""A ranker that follows events: what it takes in, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tastemaker import columns
from tastemaker.attributes import Attributes
from tastemaker.candidates import no_codes
from tastemaker.catalogue.tables import as_items
from tastemaker.clickstream.follow import Asked, Follower
from tastemaker.clickstream.ranker import StreamRecipe
from tastemaker.event_types import DEFAULT_EVENT_TYPES
from tastemaker.events import schema
from tastemaker.events.schema import Record
from tastemaker.types import Item

START = 1_506_826_800.0
ITEMS = 20
SMALL = replace(StreamRecipe(), hidden=8, share=1.0, places=20, examples=500, steps=10, batch=32)

Click = tuple[str, int, float]
"""User, item and seconds since the start."""


def attributes(items: int = ITEMS) -> Attributes:
    return Attributes.of(
        as_items(
            pa.table(
                {
                    columns.ITEM_ID: [f"i{code}" for code in range(items)],
                    columns.TITLE: [f"Item {code}" for code in range(items)],
                    columns.CATEGORIES: [[f"c{code % 3}"] for code in range(items)],
                }
            )
        )
    )


def events(clicks: Sequence[Click], event_type: str = "click", device: str | None = None) -> pa.Table:
    records = [
        Record(f"{user}-{item}-{second}", user, f"i{item}", event_type, int((START + second) * 1e6), device=device)
        for user, item, second in clicks
    ]
    return schema.to_arrow(records)


def asked(*items: int, now: float, device: str | None = None, life: float = math.inf) -> Asked:
    time = np.full((1, len(items)), START + now, dtype=np.uint32)
    return Asked(np.array([items], dtype=np.int32).reshape(1, -1), time, [device], life)


def walks(hours: float, step: int = 1) -> list[Click]:
    """Every minute somebody reads an article and then the one `step` further on."""
    random = np.random.default_rng(0)
    return [
        (f"u{minute}", int(first + each * step) % ITEMS, 60.0 * minute + 20 * each)
        for minute, first in enumerate(random.integers(0, ITEMS, int(hours * 60)))
        for each in range(2)
    ]


@pytest.fixture
def follower() -> Follower:
    return Follower(attributes(), DEFAULT_EVENT_TYPES, SMALL)


def first(follower: Follower, asked: Asked) -> int:
    return int(follower.answer(asked, 5)[0, 0])


def test_before_the_first_event_there_is_nothing(follower: Follower) -> None:
    assert (follower.answer(asked(3, now=0.0), 5) == -1).all()
    follower.follow(events([]))
    assert follower.now == 0


def test_what_is_read_after_what_the_session_has_read_comes_first(follower: Follower) -> None:
    follower.follow(events(walks(3.0)))
    assert [first(follower, asked(item, now=3 * 3600.0)) for item in range(5)] == [1, 2, 3, 4, 5]


def test_it_does_not_matter_in_how_many_parts_events_come(follower: Follower) -> None:
    whole = events(walks(2.5))
    other = Follower(attributes(), DEFAULT_EVENT_TYPES, SMALL)
    follower.follow(whole)
    for second in range(0, 9001, 600):
        times = np.asarray(whole[columns.TIMESTAMP].cast(pa.int64())) / 1e6 - START
        other.follow(whole.filter(pa.array((times >= second) & (times < second + 600))))
    question = asked(7, now=9000.0)
    np.testing.assert_array_equal(follower.answer(question, 10), other.answer(question, 10))


def test_it_learns_from_clicks_that_nobody_was_asked_about(follower: Follower) -> None:
    follower.follow(events(walks(0.5)))
    before = follower._ranker.network.skip.weight.clone()
    follower.follow(events(walks(4.0, step=3)))
    assert not before.equal(follower._ranker.network.skip.weight)
    assert first(follower, asked(2, now=4 * 3600.0)) == 5


def test_an_event_that_comes_again_does_not_count_but_another_users_with_its_id_does(follower: Follower) -> None:
    clicks = events([("a", 1, 0.0), ("a", 1, 0.0), ("b", 2, 1.0)])
    clicks = clicks.set_column(0, columns.EVENT_ID, pa.array(["1"] * 3))
    taken = follower._clicks(clicks)
    assert taken.items.tolist() == [1, 2]
    assert not len(follower._clicks(clicks).items)


def test_events_that_say_nothing_for_an_item_and_unknown_items_do_not_count(follower: Follower) -> None:
    follower.follow(events([("a", 4, 0.0)], "dislike"))
    follower.follow(events([("a", 999, 1.0)]))
    assert follower.now == 0


def test_a_pause_ends_a_session(follower: Follower) -> None:
    later = [("a", 9, 3700.0 + 7200), *((f"b{n}", 9, 3701.0 + 7200) for n in range(9))]
    follower.follow(events([*walks(1.0), ("a", 3, 3700.0), *later]))
    assert 9 not in follower._ranker.state.next.of(3, follower.now)[0]
    late = Asked(np.array([[8, 3]]), np.array([[START, START + 10.0]]).astype(np.uint32), [None], math.inf)
    assert first(follower, late) == 9, "no session goes on, so it is what is read most now"


def test_an_item_lives_as_long_as_it_is_read(follower: Follower) -> None:
    day = 86_400.0
    follower.follow(events([*walks(1.0), *((f"v{n}", 9, 2 * day + n) for n in range(30))]))
    found = follower.answer(asked(9, now=2 * day, life=day), 10)
    assert (found == -1).all(), "9 was read, the others are too old"
    assert (follower.answer(asked(9, now=2 * day), 10) >= 0).any()


def test_new_items_are_answered_and_the_others_keep_what_is_known(follower: Follower) -> None:
    follower.follow(events(walks(2.0)))
    added = [f"i{code}" for code in range(ITEMS, ITEMS + 5000)]
    new = {ITEMS + place: Item(item_id, "New", categories=("c1",)) for place, item_id in enumerate(added)}
    follower.describe(attributes().changed(added, new, no_codes()))
    assert first(follower, asked(7, now=7200.0)) == 8
    follower.follow(events([(f"w{n}", item, 7200.0 + n) for n in range(40) for item in (7, ITEMS + 4999)]))
    assert ITEMS + 4999 in follower.answer(asked(7, now=7240.0), 5)[0]


def test_a_user_is_forgotten_with_what_their_sessions_read_and_others_are_not(follower: Follower) -> None:
    follower.follow(events([("a", 3, 0.0), ("b", 3, 1.0), ("a", 4, 2.0)]))
    follower.forget(["a", "never heard of"])
    assert list(follower._ranker.state.histories.values()) == [[3]]
    assert [user for user, _ in follower._known] == ["b"]
    follower.follow(events([("a", 5, 3.0), ("b", 5, 4.0)]))
    assert follower._ranker.state.next.of(4, follower.now)[0].tolist() == []
    assert follower._ranker.state.next.of(3, follower.now)[0].tolist() == [4, 5], "of b, and what a's counts have left"


def test_devices_are_told_apart_up_to_a_number(follower: Follower) -> None:
    for number in range(100):
        follower.follow(events([(f"u{number}", 3, float(number))], device=f"device {number}"))
    assert first(follower, asked(5, now=100.0, device="device 99")) == 3
