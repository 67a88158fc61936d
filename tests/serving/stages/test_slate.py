from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.attributes import Attributes
from tastemaker.candidates import Codes
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.scenes import Scene
from tastemaker_serving.stages import rules
from tastemaker_serving.stages.slate import Arranged, Listed, arrange

ITEMS, NOW = 30, 1_800_000_000.0
CATEGORIES, AUTHORS = ("red", "green", "blue"), ("Ana", "Bo", None)


def _attributes() -> Attributes:
    """Item c is in two of three categories or in none, by one of two authors or by nobody, of the year 1990 + c."""
    rows = [
        {
            "item_id": f"i{code}",
            "title": "",
            "categories": [CATEGORIES[code % 3], CATEGORIES[(code + 1) % 3]] if code % 5 else [],
            "author": AUTHORS[code % 7 % 3],
            "release_year": 1990 + code,
        }
        for code in range(ITEMS)
    ]
    return Attributes.of(pa.Table.from_pylist(rows, ITEM_SCHEMA))


ATTRIBUTES = _attributes()
VECTORS = torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(ITEMS, 4))).float())


def scene(**fields: Any) -> Scene:
    named = [{"name": f"rule {number}"} | rule for number, rule in enumerate(fields.pop("rules", ()))]
    return Scene.model_validate({"sources": {"popular": 1}, "rules": named} | fields)


def listed(*rows: list[int], refused: list[list[int]] | None = None, shown: list[int] | None = None) -> Listed:
    """Lists of codes, best first; `shown` is the last slate of everybody."""
    codes = padded(rows)
    relevance = np.where(codes >= 0, -np.arange(codes.shape[1], dtype=np.float32), -np.inf).astype(np.float32)
    shown = shown or []
    last = np.tile(np.array(shown, dtype=np.int32), (len(rows), 1))
    return Listed(codes, relevance, padded(refused or [[]] * len(rows)), last, np.zeros(len(shown), dtype=np.int32))


def padded(rows: Any) -> Codes:
    codes = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int32)
    for row, real in enumerate(rows):
        codes[row, : len(real)] = real
    return codes


def slates(of: Scene, what: Listed, *lengths: int) -> Arranged:
    """Slates of these lengths, or all of the one."""
    every = lengths if len(lengths) > 1 else lengths * len(what.codes)
    return arrange(of, rules.effects(of.in_force(NOW), ATTRIBUTES), ATTRIBUTES, VECTORS, what, every, NOW)


def codes_of(of: Scene, what: Listed, n: int) -> list[list[int]]:
    found: list[list[int]] = slates(of, what, n).codes.tolist()
    return found


codes = st.integers(0, ITEMS - 1)
lists = st.lists(codes, unique=True, max_size=ITEMS)
pins = st.builds(
    lambda place, items: {"action": "pin", "position": place, "items": [f"i{code}" for code in items]},
    st.integers(0, 4),
    st.lists(codes, min_size=1, max_size=4),
)
boosts = st.builds(
    lambda by, items: {"action": "boost", "by": by, "items": [f"i{code}" for code in items]},
    st.floats(-1, 1),
    st.lists(codes, min_size=1),
)
scenes = st.builds(
    scene,
    diversity=st.fixed_dictionaries({"method": st.sampled_from(["mmr", "dpp"]), "weight": st.floats(0, 1)}),
    caps=st.fixed_dictionaries({name: st.none() | st.integers(1, 4) for name in ("category", "author")}),
    freshness=st.fixed_dictionaries({"boost": st.floats(0, 1), "half_life_h": st.floats(1, 1e6)}),
    repetition=st.fixed_dictionaries({"discount": st.floats(0, 1)}),
    rules=st.lists(pins | boosts, max_size=4),
)


places = st.integers(0, 40)


@given(scenes, lists, lists, st.lists(codes, max_size=4), lists, places, places)
def test_whatever_the_scene_nothing_is_lost_or_doubled_and_hard_rules_hold(
    of: Scene, first: list[int], second: list[int], refused: list[int], shown: list[int], one: int, other: int
) -> None:
    ranked = [[code for code in row if code not in refused] for row in (first, second)]
    what = listed(*ranked, refused=[refused, refused], shown=shown)

    found = slates(of, what, one, other)

    wanted = rules.pinned(rules.effects(of.in_force(NOW), ATTRIBUTES).pins, what.refused, (one, other))
    assert found.codes.shape == (2, max(one, other))
    for row, (pinned, n) in enumerate(zip(wanted.tolist(), (one, other), strict=True)):
        brought = {code for code in pinned if code >= 0}
        slate = [code for code in found.codes[row].tolist() if code >= 0]
        assert found.codes[row, : len(slate)].tolist() == slate, "padding is at the end"
        assert len(set(slate)) == len(slate) <= n, "nothing is doubled"
        assert set(slate) <= set(ranked[row]) | brought, "nothing comes from nowhere"
        assert not set(slate) & set(refused)
        assert brought <= set(slate), "what is pinned comes"
        places = [place for place, code in enumerate(pinned) if code >= 0 and place < len(slate)]
        assert len(slate) < n or all(slate[place] == pinned[place] for place in places)
        assert set(np.flatnonzero(found.pinned[row])) == {slate.index(code) for code in brought}
        _the_caps_hold(of, slate, brought)
        if len(slate) < n:
            _nothing_that_could_have_come_is_lost(of, slate, ranked[row])
        from_list = [(place, code) for place, code in zip(found.places[row], slate, strict=False) if place >= 0]
        assert all(what.codes[row, place] == code for place, code in from_list)


@given(scenes, lists, lists, lists, places, places)
def test_a_slate_is_the_same_whatever_is_asked_for_beside_it(
    of: Scene, first: list[int], second: list[int], shown: list[int], one: int, other: int
) -> None:
    beside = slates(of, listed(first, second, shown=shown), one, other)
    alone = slates(of, listed(first, shown=shown), one)
    assert [code for code in beside.codes[0].tolist() if code >= 0] == [
        code for code in alone.codes[0].tolist() if code >= 0
    ]
    assert np.flatnonzero(beside.pinned[0]).tolist() == np.flatnonzero(alone.pinned[0]).tolist()


def _groups(code: int) -> list[tuple[str, int]]:
    kinds = ATTRIBUTES.categories[code].tolist()
    groups = [("category", kind) for kind in kinds] + [("author", int(ATTRIBUTES.author[code]))]
    return [group for group in groups if group[1] >= 0]


def _the_caps_hold(of: Scene, slate: list[int], brought: set[int]) -> None:
    taken = Counter(group for code in slate for group in _groups(code))
    of_pins = Counter(group for code in brought for group in _groups(code))
    for (kind, group), count in taken.items():
        most = getattr(of.caps, kind)
        assert most is None or count <= max(most, of_pins[kind, group])


def _nothing_that_could_have_come_is_lost(of: Scene, slate: list[int], ranked: list[int]) -> None:
    taken = Counter(group for code in slate for group in _groups(code))
    for code in set(ranked) - set(slate):
        full = [group for group in _groups(code) if (most := getattr(of.caps, group[0])) and taken[group] >= most]
        assert full, "an item that no cap refuses was left out of a slate with room"


def test_a_plain_scene_keeps_the_order_of_the_ranker() -> None:
    found = slates(scene(), listed([5, 9, 2], [7]), 2)
    assert found.codes.tolist() == [[5, 9], [7, -1]]
    assert found.places.tolist() == [[0, 1], [0, -1]]
    assert not found.pinned.any()


def test_an_empty_list_gives_an_empty_slate_but_for_its_pins() -> None:
    assert codes_of(scene(), listed([], []), 3) == [[-1] * 3] * 2
    pin = scene(rules=[{"action": "pin", "position": 2, "items": ["i4"]}])
    assert codes_of(pin, listed([], []), 3) == [[4, -1, -1]] * 2


def test_a_pin_brings_an_item_that_was_not_ranked() -> None:
    found = slates(scene(rules=[{"action": "pin", "position": 1, "items": ["i4"]}]), listed([5, 9, 2], [4, 7]), 3)
    assert found.codes.tolist() == [[5, 4, 9], [7, 4, -1]]
    assert found.places.tolist() == [[0, -1, 1], [1, 0, -1]]
    assert found.pinned.tolist() == [[False, True, False]] * 2


def test_a_boost_of_one_lifts_the_last_to_the_first() -> None:
    rule = {"action": "boost", "by": 1.0, "items": ["i2"]}
    assert codes_of(scene(rules=[rule]), listed([5, 9, 8, 2]), 4) == [[5, 2, 9, 8]]
    assert codes_of(scene(rules=[rule | {"by": 0.5}]), listed([5, 9, 8, 2]), 4) == [[5, 9, 2, 8]]


def test_young_items_rise() -> None:
    fresh = scene(freshness={"boost": 1, "half_life_h": 20 * 365 * 24})
    assert codes_of(fresh, listed([0, 1, 2, 29]), 4) == [[0, 1, 29, 2]]


def test_what_was_just_shown_sinks() -> None:
    tired = scene(repetition={"discount": 1.0})
    assert codes_of(tired, listed([5, 9, 8, 2], shown=[5]), 4) == [[9, 8, 5, 2]]


@pytest.mark.parametrize(("cap", "left"), [({"category": 1}, [1, 5, 0]), ({"author": 1}, [1, 2, 5, 7, 9])])
def test_caps_leave_a_slate_short_rather_than_break(cap: dict[str, int], left: list[int]) -> None:
    (found,) = codes_of(scene(caps=cap), listed([1, 2, 5, 4, 7, 0, 9]), 7)
    assert [code for code in found if code >= 0] == left
