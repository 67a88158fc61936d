from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.ids import key_of
from tastemaker_training.interactions import Interactions, from_lake, split_by_time


@pytest.fixture
def interactions(two_tastes: pa.Table, catalogue: pa.Table) -> Interactions:
    shuffled = two_tastes.take(np.random.default_rng(1).permutation(two_tastes.num_rows))
    return from_lake(shuffled, catalogue, Settings())


def test_events_lie_user_by_user_oldest_first(interactions: Interactions) -> None:
    assert len(interactions.user_ids) == 60
    assert np.diff(interactions.offsets).tolist() == [15] * 60
    for user in range(60):
        assert (np.diff(interactions.timestamps[interactions.of(user)]) > 0).all()
    last = interactions.of(0).stop - 1
    assert interactions.preferences[last] == pytest.approx(-0.6)
    assert (interactions.users == np.repeat(np.arange(60), 15)).all()


def test_events_of_unknown_items_are_left_out(two_tastes: pa.Table, catalogue: pa.Table) -> None:
    known = from_lake(two_tastes, catalogue.slice(0, 20), Settings())
    assert known.items.max() < 20
    with pytest.raises(NotFound, match="tastemaker data import"):
        from_lake(two_tastes, catalogue.slice(0, 0), Settings())


def test_each_users_newest_events_are_held_out(interactions: Interactions) -> None:
    split = split_by_time(interactions, 0.3)
    assert np.diff(split.past.offsets).tolist() == [10] * 60  # 15 - ceil(4.5)
    assert np.diff(split.future.offsets).tolist() == [5] * 60
    for user in range(60):
        past, future = split.past.of(user), split.future.of(user)
        assert split.past.timestamps[past].max() < split.future.timestamps[future].min()
    assert split.is_past.sum() == len(split.past.items)


def test_trails_are_what_lies_online(interactions: Interactions) -> None:
    trails = interactions.trails()
    first = interactions.of(0)
    assert trails[0]["item"][0] == key_of(interactions.item_ids[interactions.items[first][0]])
    assert trails[0]["timestamp"].tolist() == interactions.timestamps[first].tolist()
