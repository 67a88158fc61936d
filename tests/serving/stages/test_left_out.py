from __future__ import annotations

import numpy as np
import pytest

from tastemaker.decisions.drops import CAPS, RERANKING, Drop
from tastemaker_serving.stages import rules
from tastemaker_serving.stages.left_out import left_out
from tastemaker_serving.stages.slate import arrange

from .test_slate import ATTRIBUTES, NOW, VECTORS, listed, scene


def told(drop: Drop, row: int) -> dict[int, float]:
    """Item codes and what each was judged by."""
    values = np.zeros(drop.codes.shape) if drop.values is None else drop.values
    return {
        code: value for code, value in zip(drop.codes[row].tolist(), values[row].tolist(), strict=True) if code >= 0
    }


@pytest.mark.parametrize("caps", [{}, {"category": 1}, {"author": 1}])
def test_every_item_of_the_list_is_shown_or_left_out_by_one_thing(caps: dict[str, int]) -> None:
    lists = listed([4, 7, 10, 13, 6, 8], [9, 2])
    wanted = scene(caps=caps)
    effects = rules.effects(wanted.in_force(NOW), ATTRIBUTES)
    slates = arrange(wanted, effects, ATTRIBUTES, VECTORS, lists, [2] * len(lists.codes), NOW).codes
    drops = left_out(wanted, effects, ATTRIBUTES, lists, slates, NOW)
    for row, whole in enumerate(([4, 7, 10, 13, 6, 8], [9, 2])):
        shown = [code for code in slates[row].tolist() if code >= 0]
        assert sorted([code for drop in drops for code in told(drop, row)] + shown) == sorted(whole)


def test_a_cap_and_a_place_are_told() -> None:
    lists = listed([4, 7, 10, 6, 8])  # 4, 7 and 10 are of the same two categories
    wanted = scene(caps={"category": 1}, rules=[{"action": "boost", "items": ["i8"], "by": 0.6}])
    effects = rules.effects(wanted.in_force(NOW), ATTRIBUTES)
    caps, others = left_out(wanted, effects, ATTRIBUTES, lists, np.array([[4]], np.int32), NOW)
    assert (caps.stage, caps.why, others.stage) == (CAPS, "at most 1 of one category", RERANKING)
    assert {7} <= told(caps, 0).keys()
    plain = scene()
    (rest,) = left_out(plain, effects, ATTRIBUTES, lists, np.array([[4]], np.int32), NOW)
    assert told(rest, 0) == {7: 2.0, 10: 4.0, 6: 5.0, 8: 3.0}
