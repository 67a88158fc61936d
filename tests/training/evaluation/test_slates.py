from __future__ import annotations

import numpy as np
import pytest
import torch

from tastemaker_training.evaluation import slates
from tastemaker_training.evaluation.slates import best_unseen, passes

NOBODY = np.empty(0, dtype=np.int64)


def test_the_best_come_first_and_what_was_seen_not_at_all() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.4, 0.3, 0.2, 0.1]])
    found = best_unseen(scores, np.array([0, 1, 1]), np.array([1, 0, 3]), 2)
    assert found.tolist() == [[2, 3], [1, 2]]


def test_a_slate_is_as_long_as_asked_for_however_few_items_there_are() -> None:
    assert best_unseen(torch.tensor([[0.1, 0.2]]), NOBODY, NOBODY, 4).tolist() == [[1, 0, -1, -1]]
    seen_all = best_unseen(torch.tensor([[0.1, 0.2, 0.3]]), np.zeros(2, dtype=np.int64), np.array([0, 2]), 3)
    assert seen_all.tolist() == [[1, -1, -1]], "what was seen does not come back where nothing else is left"


@pytest.mark.parametrize(("users", "items"), [(0, 10), (1, 10), (1_024, 10), (5_000, 10), (100, 10**9)])
def test_passes_take_every_user_once_and_keep_within_memory(users: int, items: int) -> None:
    found = list(passes(users, items))
    assert [user for part in found for user in range(part.start, part.stop)] == list(range(users))
    for part in found:
        size = part.stop - part.start
        assert size <= slates.MOST_USERS
        assert size * items <= slates.MOST_SCORES or size == 1
