from __future__ import annotations

from tastemaker.scenes import Repetition
from tastemaker_serving.edge.recent import REMEMBERED, Shown, decode, encode, is_last, on_page, was_shown, with_new
from tastemaker_serving.wire import Query

QUERY = Query("r", "u", "home", None, 10, exclude=["x"])
FIRST, SECOND, OLDER = Shown(0, ["a", "b"]), Shown(1, ["c"]), Shown(0, ["z"])


def test_what_is_remembered_survives_redis_and_other_forms_are_nothing() -> None:
    assert decode(encode([SECOND, FIRST])) == (SECOND, FIRST)
    assert decode(None) == decode(b"nonsense") == ()


def test_the_newest_slates_are_remembered_and_the_newest_of_each_page() -> None:
    assert with_new([FIRST], 1, ["c"], 1) == [SECOND, FIRST]
    assert with_new([SECOND, FIRST], 0, ["d"], 1) == [Shown(0, ["d"]), SECOND]
    assert with_new([SECOND, FIRST], 0, ["d"], 3) == [Shown(0, ["d"]), SECOND, FIRST]
    assert len(with_new([OLDER] * 20, 0, ["d"], 20)) == REMEMBERED


def test_a_slate_is_told_from_others_of_its_page_and_of_all() -> None:
    shown = [SECOND, FIRST, OLDER]
    assert [is_last(shown, 0, items) for items in (["a", "b"], ["z"], ["a"])] == [True, False, False]
    assert not is_last(shown, 2, ["c"])
    assert [was_shown(shown, items) for items in (["z"], ["a"])] == [True, False]


def test_the_first_page_is_the_query_itself() -> None:
    assert on_page(QUERY, 0, [SECOND, FIRST], Repetition()) == (QUERY, 0)


def test_a_later_page_leaves_out_what_the_earlier_ones_showed_last() -> None:
    asked, skipped = on_page(QUERY, 2, [SECOND, FIRST, OLDER], Repetition())
    assert (sorted(asked.exclude), asked.n, skipped) == (["a", "b", "c", "x"], 10, 0)


def test_earlier_pages_that_nobody_remembers_are_asked_for_and_skipped() -> None:
    asked, skipped = on_page(QUERY, 2, [FIRST], Repetition())
    assert (sorted(asked.exclude), asked.n, skipped) == (["a", "b", "x"], 20, 10)
    asked, skipped = on_page(QUERY, 2, [], Repetition())
    assert (asked.exclude, asked.n, skipped) == (["x"], 30, 20)


def test_recent_slates_travel_only_where_they_count() -> None:
    shown = [SECOND, FIRST, OLDER]
    assert on_page(QUERY, 0, shown, Repetition()).query.shown == []
    assert on_page(QUERY, 0, shown, Repetition(discount=0.2, slates=2)).query.shown == [["c"], ["a", "b"]]
