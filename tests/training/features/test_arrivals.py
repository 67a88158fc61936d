"""However events arrive, and on whatever engine, features are those of one build over everything."""

from __future__ import annotations

import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastemaker import columns
from tastemaker.config import EventType, Settings
from tastemaker.features import snapshots
from tastemaker.features.files import USER_FILE, VOCABULARY_FILE
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, Lake
from tastemaker_training.features import arrivals
from tastemaker_training.features import build as module
from tastemaker_training.features import engine as feature_engine
from tastemaker_training.features import state as feature_state
from tastemaker_training.features.build import Built, build
from tastemaker_training.features.partitions import make_items

SETTINGS = Settings()
START = datetime(2024, 5, 1, tzinfo=UTC)
SMALL = 3000
"""Bytes of a partition: a file of these tests makes one or two."""

EVENTS = st.builds(
    lambda minutes, user, item, value, device, number: {
        columns.EVENT_ID: f"e{number}",
        columns.USER_ID: user,
        columns.ITEM_ID: item,
        columns.EVENT_TYPE: "view" if value is None else "rating",
        columns.TIMESTAMP: START + timedelta(minutes=minutes),
        columns.VALUE: value,
        columns.DEVICE: device,
    },
    st.one_of(st.integers(0, 200), st.integers(-3, 3).map(lambda minute: 7 * 24 * 60 + minute)),
    st.sampled_from("uvw"),
    st.sampled_from("ijkx"),
    st.sampled_from([None, 0.1, 2.5, 4.7]),
    st.sampled_from([None, "tv", "mobile"]),
    st.integers(0, 12),  # few, so that ids are repeated, with what came first and with something else
)
CATALOGUES = st.dictionaries(
    st.sampled_from("ijk"), st.lists(st.sampled_from("ABC"), max_size=2, unique=True), min_size=1
)
PROFILES = st.dictionaries(st.sampled_from("uvw"), st.none() | st.integers(1, 3))
FILES = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 99), st.lists(EVENTS, min_size=1, max_size=6)),
    min_size=1,
    max_size=5,
    unique_by=lambda file: file[:2],
)
"""Day of arrival, place among the names of the day, events; published in the order of the list."""


def add(lake: Lake, day: int, name: int, events: list[dict[str, Any]]) -> None:
    lake.write(f"events/date=2024-06-{day:02}/{name:020d}-x.parquet", pa.Table.from_pylist(events, EVENT_SCHEMA))


def catalogue(lake: Lake, categories: dict[str, list[str]]) -> None:
    rows = [{columns.ITEM_ID: item, columns.TITLE: item, columns.CATEGORIES: of} for item, of in categories.items()]
    lake.replace_items(pa.Table.from_pylist(rows, ITEM_SCHEMA))


def profiles(lake: Lake, users: dict[str, int | None]) -> None:
    """Users by the age of their account in days, where that is known."""
    rows = [
        {columns.USER_ID: user, columns.CREATED_AT: days and START - timedelta(days=days)}
        for user, days in users.items()
    ]
    lake.profiles.replace(pa.Table.from_pylist(rows, USER_SCHEMA))


def rows(lake: Lake) -> list[list[dict[str, Any]]]:
    """What readers see of users and items, in order; a vector ends with the vocabulary of its time, or in zeros."""
    read = ((snapshots.users(lake), columns.USER_ID), (snapshots.items(lake), columns.ITEM_ID))
    tables = [(pa.concat_tables(parts), key) for parts, key in read]
    found = [table.sort_by([(key, "ascending"), ("event_timestamp", "ascending")]).to_pylist() for table, key in tables]
    for row in found[0]:
        row[columns.GENRE_AFFINITY] = np.trim_zeros(row[columns.GENRE_AFFINITY], "b")
    return found


def filled(*files: tuple[int, int, list[dict[str, Any]]]) -> Lake:
    lake = Lake(f"memory://{uuid.uuid4().hex}")
    catalogue(lake, {"i": ["A", "B"], "j": ["C"]})
    for file in files:
        add(lake, *file)
    return lake


def view(user: str, item: str, minutes: int) -> dict[str, Any]:
    return {
        columns.EVENT_ID: f"{user}{item}{minutes}",
        columns.USER_ID: user,
        columns.ITEM_ID: item,
        columns.EVENT_TYPE: "view",
        columns.TIMESTAMP: START + timedelta(minutes=minutes),
    }


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(FILES, st.lists(CATALOGUES, min_size=5, max_size=5), st.lists(PROFILES, min_size=5, max_size=5))
def test_any_order_of_arrival_gives_the_features_of_one_build(
    files: list[tuple[int, int, list[dict[str, Any]]]],
    catalogues: list[dict[str, list[str]]],
    users: list[dict[str, int | None]],
) -> None:
    """Files come late and repeat events, the catalogue and the profiles change: nothing of it shows in the rows."""
    hourly, daily = Lake(f"memory://{uuid.uuid4().hex}"), Lake(f"memory://{uuid.uuid4().hex}")
    with patch.object(arrivals, "PARTITION_BYTES", SMALL):
        for file, items, known in zip(files, catalogues, users, strict=False):
            add(hourly, *file)
            catalogue(hourly, items)
            profiles(hourly, known)
            build(hourly, SETTINGS)
    for file in files:
        add(daily, *file)
    catalogue(daily, catalogues[len(files) - 1])
    profiles(daily, users[len(files) - 1])
    daily.write_json(VOCABULARY_FILE, hourly.read_json(VOCABULARY_FILE))  # it remembers categories that are no more
    build(daily, SETTINGS)
    assert rows(hourly) == rows(daily)

    build(hourly, SETTINGS, full=True)
    assert rows(hourly) == rows(daily)


def test_only_the_users_of_new_events_are_made_anew() -> None:
    lake = filled((1, 1, [view("u", "i", 0), view("v", "i", 5)]))
    assert build(lake, SETTINGS) == Built(new_files=1, users=None, user_rows=2, item_rows=2)
    add(lake, 1, 2, [view("w", "j", 61)])
    assert build(lake, SETTINGS) == Built(new_files=1, users=1, user_rows=1, item_rows=3)
    catalogue(lake, {"i": ["A", "B"], "j": ["A"]})
    assert build(lake, SETTINGS).users == 1


def test_a_build_with_nothing_new_writes_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    catalogue(lake, {"i": ["A"]})
    add(lake, 1, 1, [view("u", "i", 0)])
    first = build(lake, SETTINGS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert build(lake, SETTINGS) == Built(new_files=0, users=0, user_rows=0, item_rows=0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before

    lake.remove(USER_FILE)
    build(lake, SETTINGS)
    assert lake.rows(USER_FILE) == first.user_rows


def test_a_late_event_changes_its_users_snapshots_from_its_hour_on() -> None:
    lake = filled((1, 1, [view("u", "i", 0), view("u", "i", 300), view("v", "j", 0)]))
    build(lake, SETTINGS)
    before = rows(lake)[0]
    add(lake, 1, 2, [view("u", "j", 120)])
    build(lake, SETTINGS)
    after = rows(lake)[0]

    assert [row[columns.TOTAL_ITEMS_CONSUMED] for row in after] == [1, 2, 2, 1]
    assert (after[0], after[3]) == (before[0], before[2])


def test_a_rating_that_gives_way_to_a_view_of_the_same_hour_is_gone() -> None:
    """A late file that sorts first has the rating's event id: its hour keeps one event and loses the rating."""
    rating = view("u", "i", 0) | {columns.EVENT_ID: "e", columns.EVENT_TYPE: "rating", columns.VALUE: 2.5}
    lake = filled((2, 1, [rating]))
    build(lake, SETTINGS)
    add(lake, 1, 1, [view("u", "j", 0) | {columns.EVENT_ID: "e"}, view("v", "i", 5)])
    build(lake, SETTINGS)
    assert [row[columns.AVG_RATING] for row in rows(lake)[1]] == [None, None]


@pytest.mark.parametrize("broken", ["build.make_items", "build._publish", "state.save"])
def test_a_build_that_is_cut_short_is_done_by_the_next(broken: str) -> None:
    lake = filled((1, 1, [view("u", "i", 0)]))
    build(lake, SETTINGS)
    state = feature_state.load(lake)
    add(lake, 1, 2, [view("u", "j", 90)])
    failing = patch(f"tastemaker_training.features.{broken}", side_effect=OSError("disk full"))
    with failing, pytest.raises(OSError, match="disk full"):
        build(lake, SETTINGS)
    assert feature_state.load(lake) == state

    assert build(lake, SETTINGS) == Built(new_files=1, users=1, user_rows=2, item_rows=3)


def test_other_meanings_of_events_and_events_that_are_gone_make_all_features_anew() -> None:
    lake = filled((1, 1, [view("u", "i", 0)]), (2, 1, [view("v", "j", 0)]))
    build(lake, SETTINGS)
    dislikes = Settings(event_types={"view": EventType(weight=-1.0)})
    assert build(lake, dislikes).users is None
    assert rows(lake)[0][0][columns.GENRE_AFFINITY] == [-0.5, -0.5]

    lake.remove(next(iter(lake.event_files())))
    assert build(lake, dislikes) == Built(new_files=1, users=None, user_rows=1, item_rows=2)


def test_files_of_runs_that_have_ended_are_cleared_away() -> None:
    lake = filled((1, 1, [view("u", "i", 0)]))
    for hour in range(3):
        add(lake, 1, 2 + hour, [view("u", "j", 60 * hour)])
        build(lake, SETTINGS)
    state = feature_state.load(lake)
    assert state is not None
    assert set(lake.files(feature_state.FOLDER)) == {*state.users, *state.hours, *state.known.values()}


def test_a_long_build_of_everything_ends_whatever_ends_meanwhile() -> None:
    """It began a day ago; hourly builds, in processes of their own, go on from the state before it."""
    lake = filled((1, 1, [view("u", "i", 0)]))
    build(lake, SETTINGS)
    add(lake, 1, 2, [view("v", "j", 60)])
    hourly: list[Built] = []

    def after_an_hour(*arguments: Any) -> pa.Table:
        if not hourly:
            hourly.append(Built(0, 0, 0, 0))  # the hourly build makes items, too
            hourly[0] = build(lake, SETTINGS)
        return make_items(*arguments)

    a_day_ago = time.time_ns() - 24 * 3600 * 10**9
    with patch.object(module, "make_items", after_an_hour), patch.object(feature_state, "time") as clock:
        clock.time_ns.side_effect = itertools.chain([a_day_ago], iter(time.time_ns, None))
        assert build(lake, SETTINGS, full=True).users is None
    assert hourly == [Built(new_files=1, users=1, user_rows=1, item_rows=3)]
    assert build(lake, SETTINGS) == Built(new_files=0, users=0, user_rows=0, item_rows=0)
    assert [row[columns.USER_ID] for row in rows(lake)[0]] == ["u", "v"]


def test_what_a_build_goes_on_from_stays_while_it_lives() -> None:
    lake = filled((1, 1, [view("u", "i", 0)]))
    build(lake, SETTINGS)
    before = lake.files(feature_state.FOLDER)
    with feature_state.running(lake):
        build(lake, SETTINGS, full=True)
        assert set(before) < set(lake.files(feature_state.FOLDER))
    build(lake, SETTINGS, full=True)
    assert not set(before) & set(lake.files(feature_state.FOLDER))


def test_a_build_that_was_killed_keeps_nothing_for_long() -> None:
    lake = filled((1, 1, [view("u", "i", 0)]))
    killed = feature_state.place("00000000000000000001-killed", feature_state.ALIVE)
    for hours in (0, 1):
        lake.write_json(killed, {"at_ns": time.time_ns() - hours * 3600 * 10**9})
        build(lake, SETTINGS, full=True)
        assert lake.exists(killed) == (hours == 0)


def test_a_build_says_that_it_lives_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_state, "BEAT_S", 0.01)
    lake = filled()
    with feature_state.running(lake) as run:
        first = said(lake, run)
        deadline = time.monotonic() + 30
        while said(lake, run) == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert said(lake, run) > first
    assert lake.files(feature_state.FOLDER) == []


def said(lake: Lake, run: str) -> int:
    return int(lake.read_json(feature_state.place(run, feature_state.ALIVE))["at_ns"])


def test_ray_makes_the_same_features_as_one_process(tmp_path: Path) -> None:
    """The second hourly build: with partitions, fresh snapshots, and events of the same users in old and new files."""
    one, many = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "many"))
    for lake in (one, many):
        catalogue(lake, {"i": ["A", "B"], "j": ["C"]})
        add(lake, 1, 1, [view(f"u{user}", "ij"[user % 2], 17 * user) for user in range(20)])
    with patch.object(arrivals, "PARTITION_BYTES", 1500):
        build(many, SETTINGS)
        add(many, 1, 2, [view("u3", "i", 900)])
        add(one, 1, 2, [view("u3", "i", 900)])
        build(many, SETTINGS)
    for lake in (one, many):
        add(lake, 1, 3, [view(f"u{user}", "ji"[user % 2], 13 * user) for user in range(10, 30)])
    build(one, SETTINGS)
    with patch.object(feature_engine, "IN_PROCESS_BYTES", 0):
        built = build(many, SETTINGS)
    state = feature_state.load(many)
    assert state is not None
    assert len(state.users) > 1
    assert built.users == 20
    assert rows(many) == rows(one)
