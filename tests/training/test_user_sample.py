from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.lake import EVENT_SCHEMA, Lake
from tastemaker.training import Training
from tastemaker_training import user_sample


@pytest.fixture
def home(tmp_path: Path, two_tastes: pa.Table) -> Path:
    lake = Lake(Settings(home=tmp_path).lake)
    lake.append_events(two_tastes.slice(0, 500))
    lake.append_events(two_tastes.slice(400))  # a hundred arrive twice
    return tmp_path


def users(events: pa.Table) -> set[str]:
    return set(events["user_id"].to_pylist())


def sample(home: Path, share: float, days: int | None = None) -> pa.Table:
    return user_sample.events(Settings(home=home, training=Training(users_share=share, days=days)))


def test_everybody_is_in_the_whole(home: Path, two_tastes: pa.Table) -> None:
    assert sample(home, 1.0).num_rows == two_tastes.num_rows


def test_users_are_sampled_with_all_of_their_events(home: Path) -> None:
    whole, half = sample(home, 1.0), sample(home, 0.5)
    assert half.schema.equals(EVENT_SCHEMA)
    assert 15 <= len(users(half)) <= 45
    kept = pc.is_in(whole["user_id"], value_set=pa.array(sorted(users(half))))
    assert half.equals(whole.filter(kept)), "in time order, each event once"


def test_a_larger_sample_holds_the_smaller_one(home: Path) -> None:
    assert users(sample(home, 0.2)) < users(sample(home, 0.5)) < users(sample(home, 0.9))


def test_a_window_cuts_the_sample(home: Path) -> None:
    half = sample(home, 0.5)
    times = sorted(half["timestamp"].to_pylist())
    settings = Settings(home=home, training=Training(users_share=0.5))
    middle = user_sample.events(settings, times[10], times[-10])
    assert middle.num_rows == len([time for time in times if times[10] <= time < times[-10]])


def test_days_count_from_now(home: Path, two_tastes: pa.Table) -> None:
    with pytest.raises(NotFound):
        sample(home, 0.5, days=3)
    assert sample(home, 1.0, days=20_000).num_rows == two_tastes.num_rows
