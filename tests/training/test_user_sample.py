from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features import snapshots
from tastemaker.lake import USER_SCHEMA, Lake
from tastemaker.training import Training
from tastemaker_training import data, recipes, user_sample
from tastemaker_training.features import arrivals
from tastemaker_training.features import engine as feature_engine
from tastemaker_training.features.build import build
from tastemaker_training.narrator import Narrator


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
    assert half.schema.names == ["user_id", "item_id", "event_type", "timestamp", "value"]
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


@pytest.mark.parametrize("engine", ["this process", "Ray"])
def test_the_sample_is_the_lakes_events_whatever_the_partitions(
    home: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    whole = Lake(Settings(home=home).lake).events()
    monkeypatch.setattr(arrivals, "PARTITION_BYTES", 3000)
    if engine == "Ray":
        monkeypatch.setattr(feature_engine, "IN_PROCESS_BYTES", 0)
    found = sample(home, 1.0)
    assert found.equals(whole.select(found.column_names))


def test_nobody_else_comes_here(home: Path, two_tastes: pa.Table, catalogue: pa.Table) -> None:
    """What training reads of a lake is of the users in its sample: events, snapshots and profiles."""
    settings = Settings(home=home, training=Training(users_share=0.2))
    lake = Lake(settings.lake)
    lake.replace_items(catalogue)
    everybody = sorted(users(two_tastes))
    profiles = [{"user_id": user, "country": f"of {user}"} for user in everybody]
    lake.profiles.replace(pa.Table.from_pylist(profiles, USER_SCHEMA))
    build(lake, settings)
    read: list[set[str]] = []

    def remember(original: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*arguments: Any, **named: Any) -> Any:
            found = original(*arguments, **named)
            tables = [found] if isinstance(found, pa.Table) else list(found)
            read.extend(users(table) for table in tables if "user_id" in table.column_names)
            return found if isinstance(found, pa.Table) else iter(tables)

        return reading

    with (
        patch.object(snapshots, "users", remember(snapshots.users)),
        patch.object(Lake, "users", remember(Lake.users)),
        patch.object(data, "batch_features", autospec=True),
    ):
        known = data.read(settings, recipes.smoke(), Narrator(quiet=True))
    mine = set(known.known.user_ids)
    assert mine < set(everybody)
    assert len(read) >= 2
    assert set().union(*read) == mine
    assert list(known.countries) == [f"of {user}" for user in known.known.user_ids]


def test_an_empty_window_is_named(home: Path) -> None:
    since, until = datetime(2015, 3, 1, tzinfo=UTC), datetime(2015, 3, 2, tzinfo=UTC)
    with pytest.raises(NotFound, match=r"no event since 2015-03-01 00:00 before 2015-03-02 00:00\. .* data import`$"):
        user_sample.events(Settings(home=home, training=Training(days=3)), since, until)


def test_days_count_from_now(home: Path, two_tastes: pa.Table) -> None:
    with pytest.raises(NotFound, match=r"no event since \d{4}-\d\d-\d\d 00:00\. .* raise `training.days`, which is 3$"):
        sample(home, 1.0, days=3)
    with pytest.raises(NotFound, match=r"since .* of the 50.000% of users .* or raise `training.users_share`$"):
        sample(home, 0.5, days=3)
    assert sample(home, 1.0, days=20_000).num_rows == two_tastes.num_rows
