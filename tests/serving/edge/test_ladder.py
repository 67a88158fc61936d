from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.features.trail import RECORD, Trail
from tastemaker.ids import key_of
from tastemaker_serving import wire
from tastemaker_serving.edge import ladder
from tastemaker_serving.edge.ladder import Pick, Rung
from tastemaker_serving.edge.shelf import Shelf

ITEM_IDS = st.integers(0, 30).map("i{}".format)
RUNGS = st.lists(st.tuples(st.sampled_from(["ranked", "cache", "session", "static"]), st.lists(ITEM_IDS)), max_size=6)


def trail_of(*events: tuple[str, float]) -> Trail:
    records = [(key_of(item_id), second, preference) for second, (item_id, preference) in enumerate(events)]
    return np.array(records, RECORD)


def pick(item_id: str) -> Pick:
    return Pick(item_id, 1.0, "source", "reason")


@given(RUNGS, st.integers(1, 20), st.sets(ITEM_IDS))
def test_a_slate_is_whole(proposed: list[tuple[str, list[str]]], n: int, leave_out: set[str]) -> None:
    rungs: list[Rung] = [(name, [pick(item_id) for item_id in item_ids]) for name, item_ids in proposed]  # type: ignore[misc]
    served_from, items = ladder.climb_down(rungs, n, leave_out)
    chosen = [item.item_id for item in items]
    allowed = [item_id for _, item_ids in proposed for item_id in item_ids if item_id not in leave_out]
    assert chosen == list(dict.fromkeys(allowed))[:n]
    assert [item.position for item in items] == list(range(len(items)))
    if chosen:
        assert served_from == next(name for name, item_ids in proposed if set(item_ids) - leave_out)


@given(
    seen=st.lists(st.tuples(st.integers(0, 59), st.floats(-1, 1, width=32))),
    excluded=st.sets(st.integers(0, 59)),
    n=st.integers(1, 60),
)
def test_the_lower_rungs_together_never_run_dry(
    shelf: Shelf, seen: list[tuple[int, float]], excluded: set[int], n: int
) -> None:
    trail = trail_of(*((f"i{code}", preference) for code, preference in seen))
    leave_out = {f"i{code}" for code, _ in seen} | {f"i{code}" for code in excluded}
    rungs: list[Rung] = [
        ("session", ladder.session(shelf, trail)),
        ("segment", ladder.segment(shelf, ladder.strongest_categories(shelf, trail))),
        ("trending", ladder.trending(shelf, [(7, 2.0), (3, 1.0)])),
        ("static", ladder.static(shelf)),
    ]
    _, items = ladder.climb_down(rungs, n, leave_out)
    chosen = {item.item_id for item in items}
    assert len(chosen) == len(items) == min(n, 60 - len(leave_out))
    assert not chosen & leave_out


def test_the_session_rung_weighs_neighbours_by_preference(shelf: Shelf) -> None:
    picks = list(ladder.session(shelf, trail_of(("i0", 0.5), ("i1", 1.0))))
    assert [pick.item_id for pick in picks[:3]] == ["i4", "i7", "i3"]
    assert picks[0].reason == "Because you liked Film 1"
    assert picks[2].reason == "Because you liked Film 0"


def test_a_dislike_sinks_its_neighbours(shelf: Shelf) -> None:
    # i3 is the first neighbour of i0 and the second of i57.
    assert next(ladder.session(shelf, trail_of(("i0", 0.5)))).item_id == "i3"
    assert "i3" not in [pick.item_id for pick in ladder.session(shelf, trail_of(("i57", -1.0), ("i0", 0.5)))]
    assert list(ladder.session(shelf, trail_of(("i0", -1.0)))) == []


def test_the_session_rung_ignores_items_outside_the_catalogue(shelf: Shelf) -> None:
    assert list(ladder.session(shelf, trail_of(("gone", 1.0)))) == []


def test_the_segment_rung_takes_turns_between_the_strongest_categories(shelf: Shelf) -> None:
    categories = ladder.strongest_categories(shelf, trail_of(("i1", 1.0), ("i4", 1.0), ("i2", 1.0), ("i0", -1.0)))
    assert categories == ["Drama", "Thriller"]
    picks = list(ladder.segment(shelf, categories))
    assert [pick.item_id for pick in picks[:4]] == ["i1", "i2", "i4", "i5"]
    assert picks[1].reason == "Popular in Thriller"


def test_a_models_slate_keeps_its_order_and_words() -> None:
    slate = wire.RankedSlate(["a", "b"], [0.9, 0.8], ["als", "explore"], ["x", "y"], "candidates")
    assert list(ladder.ranked(slate)) == [Pick("a", 0.9, "als", "x"), Pick("b", 0.8, "explore", "y")]


def test_of_a_stranger_the_device_decides_what_is_popular(shelf: Shelf) -> None:
    among = replace(shelf, popular_among={"country": {"DE": [1]}, "device": {"tv": [5, 2]}})
    picks = [(found.item_id, found.reason) for found in ladder.demographic(among, None, "tv")]
    assert picks == [("i5", "Popular with people like you"), ("i2", "Popular with people like you")]
    assert list(ladder.demographic(among, None, None)) == []
