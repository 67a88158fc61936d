from __future__ import annotations

import numpy as np

from tastemaker.ids import keys_of
from tastemaker_serving.edge.shelf import Either, Shelf


def test_keys_lead_back_to_codes(shelf: Shelf) -> None:
    assert shelf.codes_of(keys_of(["i3", "gone", "i59"])).tolist() == [3, -1, 59]
    assert shelf.codes_of(np.empty(0, np.uint64)).tolist() == []


def test_the_popular_list_ends_with_what_nobody_touched(shelf: Shelf) -> None:
    assert shelf.popular == tuple(range(60))
    assert shelf.popular_in["Drama"][:2] == (1, 4)


def test_either_of_two_sets_holds_what_one_of_them_does() -> None:
    both = Either({"a", "b"}, frozenset({"b", "c"}))
    assert sorted(both) == ["a", "b", "c"]
    assert ("a" in both, "c" in both, "d" in both, len(both)) == (True, True, False, 3)
