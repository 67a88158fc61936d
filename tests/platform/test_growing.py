from __future__ import annotations

import numpy as np

from tastemaker.growing import LEAST, Growing


def test_rows_come_behind_and_views_stay_as_they_are() -> None:
    table = Growing(np.arange(6).reshape(3, 2))
    before = table.rows
    table.put(np.array([3, 4]), np.array([[6, 7], [8, 9]]))
    assert table.rows.tolist() == np.arange(10).reshape(5, 2).tolist()
    assert before.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_while_there_is_room_nothing_moves_and_a_row_may_be_written_over() -> None:
    table = Growing(np.zeros((2, 3), np.float32))
    table.put(np.array([2]), np.ones((1, 3), np.float32))
    first = table.rows
    table.put(np.array([2, 3]), np.full((2, 3), 5, np.float32))
    assert np.shares_memory(first, table.rows)
    assert first[2].tolist() == [5, 5, 5]
    table.put(np.arange(4, 4 + LEAST), np.zeros((LEAST, 3), np.float32))
    assert not np.shares_memory(first, table.rows)
    assert table.rows[3].tolist() == [5, 5, 5]


def test_nothing_changes_nothing() -> None:
    table = Growing(np.zeros((2, 1)))
    table.put(np.empty(0, np.int64), np.empty((0, 1)))
    assert table.rows.shape == (2, 1)
