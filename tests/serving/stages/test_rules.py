from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.attributes import Attributes
from tastemaker.candidates import Candidates
from tastemaker.lake import ITEM_SCHEMA
from tastemaker.scenes import Scene
from tastemaker_serving.stages import rules
from tastemaker_serving.stages.rules import Effects

NOBODY = np.full((1, 1), -1, dtype=np.int32)


@pytest.fixture(scope="module")
def attributes() -> Attributes:
    """Eight items `i0` … `i7`; the even ones are in Drama, the first four by Ana."""
    rows = [
        {
            "item_id": f"i{code}",
            "title": "",
            "categories": ["Drama"] if code % 2 == 0 else [],
            "author": "Ana" if code < 4 else None,
        }
        for code in range(8)
    ]
    return Attributes.of(pa.Table.from_pylist(rows, ITEM_SCHEMA))


def declared(*given: dict[str, Any]) -> Scene:
    named = [{"name": f"rule {number}"} | rule for number, rule in enumerate(given)]
    return Scene.model_validate({"sources": {"popular": 1}, "rules": named})


def in_force(scene: Scene, attributes: Attributes, now: float) -> Effects:
    return rules.effects(scene.in_force(now), attributes)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_only_rules_in_force_have_an_effect(attributes: Attributes) -> None:
    one = declared({"action": "ban", "items": ["i1", "nowhere"], "from": "2026-02-01", "until": "2026-03-01"})

    assert in_force(one, attributes, seconds("2026-01-31")).bans == ()
    ((name, banned),) = in_force(one, attributes, seconds("2026-02-01")).bans
    assert name == "rule 0"
    assert np.flatnonzero(banned).tolist() == [1]
    assert in_force(one, attributes, seconds("2026-03-01")).bans == ()


def test_what_is_in_force_is_worked_out_once(attributes: Attributes) -> None:
    one = declared({"action": "ban", "items": ["i1"]})
    assert in_force(one, attributes, 0.0) is in_force(one, attributes, 1e9)


def test_each_ban_is_known_by_its_name_and_boosts_add_up(attributes: Attributes) -> None:
    found = in_force(
        declared(
            {"action": "ban", "categories": ["Drama"]},
            {"action": "ban", "items": ["i7"]},
            {"action": "boost", "by": 0.5, "authors": ["Ana"]},
            {"action": "boost", "by": -0.25, "items": ["i3", "i5"]},
        ),
        attributes,
        0.0,
    )
    assert {name: np.flatnonzero(banned).tolist() for name, banned in found.bans} == {
        "rule 0": [0, 2, 4, 6],
        "rule 1": [7],
    }
    assert found.lift is not None
    assert found.lift.tolist() == [0.5, 0.5, 0.5, 0.25, 0, -0.25, 0, 0]


def test_a_ban_beats_a_pin(attributes: Attributes) -> None:
    found = in_force(
        declared({"action": "pin", "items": ["i1", "i5"]}, {"action": "ban", "authors": ["Ana"]}), attributes, 0.0
    )
    assert found.pins == ((0, 5),)


def test_what_is_gone_is_not_pinned_until_it_is_back(attributes: Attributes) -> None:
    one = declared({"action": "pin", "items": ["i1", "i5"]})
    without = attributes.changed([], {}, gone=np.array([1], dtype=np.int32))
    assert in_force(one, without, 0.0).pins == ((0, 5),)
    assert in_force(one, without.changed([], {}, gone=np.empty(0, dtype=np.int32)), 0.0).pins == ((0, 1), (0, 5))


def test_several_pins_for_one_place_take_the_next_free_ones() -> None:
    pins = [(1, 10), (0, 11), (1, 12), (0, 13), (1, 10), (4, 14)]
    assert rules.pinned(pins, NOBODY, [5]).tolist() == [[11, 10, 12, 13, 14]]
    assert rules.pinned(pins, NOBODY, [3]).tolist() == [[11, 10, 12]], "what would stand beyond the slate is not in it"
    assert rules.pinned(pins, NOBODY, [0]).shape == (1, 0)


def test_each_slate_of_a_batch_has_the_pins_of_its_own_length() -> None:
    both = np.repeat(NOBODY, 2, axis=0)
    assert rules.pinned([(1, 10), (3, 11), (1, 12)], both, [2, 5]).tolist() == [
        [-1, 10, -1, -1, -1],
        [-1, 10, 12, 11, -1],
    ]


def test_what_a_caller_excludes_is_not_pinned_for_them() -> None:
    refused = np.array([[10, -1], [-1, -1]], dtype=np.int32)
    assert rules.pinned([(0, 10), (0, 11)], refused, [2, 2]).tolist() == [[11, -1], [10, 11]]


def test_banned_candidates_leave_with_all_that_is_known_of_them() -> None:
    codes = np.array([[3, 1, 2, -1], [4, -1, -1, -1]], dtype=np.int32)
    signals = np.arange(2 * 2 * 4, dtype=np.float32).reshape(2, 2, 4)
    candidates = Candidates(codes, np.array([[0, 1, 2, 0], [3, 0, 0, 0]], dtype=np.uint8), signals)

    left = rules.without(candidates, np.isin(codes, [1, 4]))

    assert left.codes.tolist() == [[3, 2], [-1, -1]]
    assert left.source[0].tolist() == [0, 2]
    assert left.signals[:, 0].tolist() == signals[:, 0, [0, 2]].tolist()
    assert rules.without(candidates, np.zeros_like(codes, dtype=bool)) is candidates
    assert rules.without(candidates, codes >= 0).codes.shape == (2, 0)
