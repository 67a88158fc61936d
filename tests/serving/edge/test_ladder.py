from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.features.trail import RECORD, Trail
from tastemaker.ids import key_of
from tastemaker.scenes import Scene
from tastemaker_serving import wire
from tastemaker_serving.edge import ladder
from tastemaker_serving.edge.ladder import Pick, Rung
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.standing import standing
from tastemaker_serving.stages import rules

ITEM_IDS = st.integers(0, 30).map("i{}".format)
RUNGS = st.lists(st.tuples(st.sampled_from(["ranked", "cache", "session", "static"]), st.lists(ITEM_IDS)), max_size=6)


def trail_of(*events: tuple[str, float]) -> Trail:
    records = [(key_of(item_id), second, preference) for second, (item_id, preference) in enumerate(events)]
    return np.array(records, RECORD)


def scene_of(banned: list[int], pins: list[tuple[int, int]], category: int | None, author: int | None) -> Scene:
    """Hard rules about items by their codes."""
    rules: list[dict[str, object]] = [
        {"name": f"pin {number}", "action": "pin", "position": place, "items": [f"i{code}"]}
        for number, (place, code) in enumerate(pins)
    ]
    if banned:
        rules.append({"name": "ban", "action": "ban", "items": [f"i{code}" for code in banned]})
    caps = {"category": category, "author": author}
    return Scene.model_validate({"sources": {"popular": 1}, "rules": rules, "caps": caps})


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


CODES = st.integers(0, 59)
HARD = st.builds(
    scene_of,
    st.lists(CODES, max_size=5),
    st.lists(st.tuples(st.integers(0, 6), CODES), max_size=4),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 2),
)


@given(
    of=HARD,
    proposed=st.lists(st.lists(CODES, max_size=20), max_size=4),
    excluded=st.sets(CODES, max_size=5),
    seen=st.sets(CODES, max_size=5),
    n=st.integers(0, 20),
)
def test_hard_rules_hold_on_every_rung(
    shelf: Shelf, of: Scene, proposed: list[list[int]], excluded: set[int], seen: set[int], n: int
) -> None:
    rungs: list[Rung] = [("session", [pick(f"i{code}") for code in codes]) for codes in proposed]
    rungs.append(("static", ladder.static(shelf)))
    hard = standing(of, shelf)
    refused = {f"i{code}" for code in excluded}

    _, items = ladder.climb_down(rungs, n, refused, hard, {f"i{code}" for code in seen})

    slate = [int(item.item_id[1:]) for item in items]
    pinned = {place: int(item_id[1:]) for place, item_id in hard.pinned(refused, n).items()}
    assert len(set(slate)) == len(slate) <= n
    assert not set(slate) & excluded
    assert not {f"i{code}" for code in slate} & hard.banned
    assert not (set(slate) - set(pinned.values())) & seen
    assert set(pinned.values()) <= set(slate)
    assert [item.position for item in items] == list(range(len(items)))
    for place, code in pinned.items():
        assert slate[place : place + 1] == [code] or len(slate) < n, "only in a short slate does a pin move up"
    brought = Counter(code % 3 for code in pinned.values())
    taken = Counter(code % 3 for code in slate)
    most = of.caps.category
    assert most is None or all(count <= max(most, brought[kind]) for kind, count in taken.items())
    if len(slate) < n:
        left = set(range(60)) - set(slate) - excluded - seen - {int(item_id[1:]) for item_id in hard.banned}
        assert all(most is not None and taken[code % 3] >= most for code in left), "the whole catalogue stands by"


def test_the_edge_places_pins_as_the_recommender_does(shelf: Shelf) -> None:
    pins = [(1, 10), (0, 11), (1, 12), (0, 13), (1, 10), (4, 14)]
    hard = standing(scene_of([], pins, None, None), shelf)
    assert hard.pinned(set(), 5) == {1: "i10", 0: "i11", 2: "i12", 3: "i13", 4: "i14"}
    assert hard.pinned({"i10"}, 3) == {1: "i12", 0: "i11", 2: "i13"}
    (row,) = rules.pinned(pins, np.array([[10]], dtype=np.int32), [3])
    assert row.tolist() == [11, 12, 13]


def test_a_pinned_item_says_so(shelf: Shelf) -> None:
    hard = standing(scene_of([], [(1, 5)], None, None), shelf)
    served_from, items = ladder.climb_down([("ranked", [pick("i7"), pick("i5"), pick("i8")])], 3, set(), hard)
    assert served_from == "ranked"
    assert [(item.item_id, item.source) for item in items] == [("i7", "source"), ("i5", "pinned"), ("i8", "source")]
    assert items[1].reason == "Chosen by the editors"


def test_a_rule_begins_and_ends_by_the_clock(shelf: Shelf) -> None:
    ban = {"name": "spring", "action": "ban", "items": ["i1"], "from": "2026-03-01", "until": "2026-06-01"}
    of = Scene.model_validate({"sources": {"popular": 1}, "rules": [ban]})
    winter, spring = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (2, 3))
    assert standing(of, shelf, lambda: winter).banned == set()
    assert standing(of, shelf, lambda: spring).banned == {"i1"}
    assert standing(of, shelf, lambda: winter).stamp == "" != standing(of, shelf, lambda: spring).stamp


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
