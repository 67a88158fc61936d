from __future__ import annotations

import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features import snapshots, vocabulary
from tastemaker.features.files import ITEM_FILE, USER_FILE
from tastemaker.features.profile import MISSING
from tastemaker.features.store import Features
from tastemaker.importing import ImportRequest, import_data
from tastemaker.lake import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA, Lake
from tastemaker_training.dataset import profiles_at
from tastemaker_training.features import build as features
from tastemaker_training.features import items
from tastemaker_training.features.build import Built
from tastemaker_training.features.hours import hour_end, micros
from tastemaker_training.features.users import user_snapshots

SETTINGS = Settings()
START = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
CATEGORIES = ["A", "B", "C"]
CATALOGUE = pa.Table.from_pylist(
    [
        {columns.ITEM_ID: "i", columns.TITLE: "I", columns.CATEGORIES: ["A", "B"], columns.RELEASE_YEAR: 1995},
        {columns.ITEM_ID: "j", columns.TITLE: "J", columns.CATEGORIES: ["C"]},
        {columns.ITEM_ID: "k", columns.TITLE: "K", columns.CATEGORIES: []},
    ],
    ITEM_SCHEMA,
)
NOBODY = USER_SCHEMA.empty_table()


def event(minutes: float, user: str = "u", item: str = "i", value: float | None = 5.0, **more: Any) -> dict[str, Any]:
    return {
        columns.EVENT_ID: uuid.uuid4().hex,
        columns.USER_ID: user,
        columns.ITEM_ID: item,
        columns.EVENT_TYPE: "rating" if value is not None else "view",
        columns.TIMESTAMP: START + timedelta(minutes=minutes),
        columns.VALUE: value,
        **more,
    }


def table(*events: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(sorted(events, key=lambda row: row[columns.TIMESTAMP]), EVENT_SCHEMA)


def of_users(*events: dict[str, Any], users: pa.Table = NOBODY) -> list[dict[str, Any]]:
    rows = user_snapshots(table(*events), CATALOGUE, users, CATEGORIES, SETTINGS).to_pylist()
    return sorted(rows, key=lambda row: (row[columns.USER_ID], row[columns.EVENT_TIMESTAMP]))


def of_item(item: str, *events: dict[str, Any]) -> list[dict[str, Any]]:
    ends = hour_end(micros(table(*events)))
    hours = items.item_hours(table(*events), SETTINGS)
    rows = items.item_snapshots(hours, CATALOGUE, (int(ends.min()), int(ends.max()))).to_pylist()
    return sorted((row for row in rows if row[columns.ITEM_ID] == item), key=lambda row: row[columns.EVENT_TIMESTAMP])


def test_a_snapshot_stands_at_the_end_of_each_active_hour() -> None:
    rows = of_users(event(0), event(59), event(60), event(200), event(5, user="v"))
    assert [(row[columns.USER_ID], (row[columns.EVENT_TIMESTAMP] - START) / HOUR) for row in rows] == [
        ("u", 1),
        ("u", 2),
        ("u", 4),
        ("v", 1),
    ]


def test_items_consumed_are_distinct_and_hours_are_shares() -> None:
    first, second = of_users(event(0), event(1), event(2, item="j"), event(61))

    assert (first[columns.TOTAL_ITEMS_CONSUMED], second[columns.TOTAL_ITEMS_CONSUMED]) == (2, 2)
    assert second[columns.ACTIVE_HOURS][:3] == [0.75, 0.25, 0]


def test_affinity_is_each_categorys_signed_share_of_what_was_expressed() -> None:
    (row,) = of_users(event(0), event(1, item="j", value=0.0), event(2, item="k", value=5.0), event(3, item="gone"))
    # Preferences 1 (split over A and B), -1 (C), 1 for an item without categories, 1 for one out of the catalogue.
    assert row[columns.GENRE_AFFINITY] == pytest.approx([0.125, 0.125, -0.25])


def test_sessions_end_after_half_an_hour_or_with_their_id() -> None:
    (row,) = of_users(event(0), event(10), event(50), event(55))
    assert row[columns.AVG_SESSION_DURATION_7D] == pytest.approx((600 + 300) / 2)

    named = [event(minute, session_id=name) for minute, name in ((0, "a"), (10, "a"), (12, "b"), (50, "b"))]
    (row,) = of_users(*named)
    assert row[columns.AVG_SESSION_DURATION_7D] == pytest.approx((600 + 38 * 60) / 2)


def test_only_sessions_of_the_last_seven_days_count() -> None:
    week = 7 * 24 * 60
    rows = of_users(event(0), event(20), event(week), event(week + 10))
    assert [row[columns.AVG_SESSION_DURATION_7D] for row in rows] == [1200, 600]


def test_an_account_is_as_old_as_its_profile_or_else_its_first_event() -> None:
    profiles = pa.Table.from_pylist(
        [{columns.USER_ID: "v", columns.CREATED_AT: START - timedelta(days=2)}], USER_SCHEMA
    )
    rows = of_users(event(0), event(0, user="v"), users=profiles)
    assert [row[columns.ACCOUNT_AGE_DAYS] for row in rows] == pytest.approx([1 / 24, 2 + 1 / 24])


def test_the_device_is_the_last_one_seen() -> None:
    rows = of_users(event(0, user="t", device="tv"), event(0), event(61, device="mobile"), event(122))
    assert [row[columns.DEVICE_TYPE] for row in rows] == ["tv", "other", "mobile", "mobile"]


def test_an_items_popularity_rises_with_events_and_falls_after_a_week() -> None:
    late = 7 * 24 * 60 + 30
    rows = of_item("i", event(0), event(1, user="v", value=1.0), event(90, value=None), event(late + 600, item="j"))

    assert [(row[columns.EVENT_TIMESTAMP] - START) / HOUR for row in rows] == [1, 2, 169, 170]
    assert [row[columns.POPULARITY_SCORE_7D] for row in rows] == [1, 2, 1, 0]
    assert [row[columns.AVG_RATING] for row in rows] == [3, 3, 3, 3]
    assert (rows[0][columns.GENRE], rows[0][columns.RELEASE_YEAR]) == ("A", 1995)


def test_an_item_without_events_has_a_row_from_the_start_of_the_data() -> None:
    (row,) = of_item("k", event(0))
    assert row[columns.EVENT_TIMESTAMP] == START + HOUR
    assert (row[columns.AVG_RATING], row[columns.POPULARITY_SCORE_7D], row[columns.GENRE]) == (None, 0, None)


EVENTS = st.lists(
    st.builds(
        event,
        # Crowded around hours and around a week, where mistakes by one would show.
        st.one_of(st.integers(0, 200), st.integers(-3, 3).map(lambda m: 7 * 24 * 60 + m), st.sampled_from([60, 120])),
        user=st.sampled_from("uv"),
        item=st.sampled_from("ijkx"),
        value=st.sampled_from([None, 0.5, 2.5, 5.0]),
        device=st.sampled_from([None, "tv", "mobile"]),
    ),
    min_size=1,
    max_size=25,
)


@given(EVENTS)
def test_user_snapshots_equal_a_plain_count_of_the_events_before_them(events: list[dict[str, Any]]) -> None:
    ordered = table(*events).to_pylist()
    for row in of_users(*events):
        end = row[columns.EVENT_TIMESTAMP]
        past = [e for e in ordered if e[columns.USER_ID] == row[columns.USER_ID] and e[columns.TIMESTAMP] < end]
        times = [e[columns.TIMESTAMP] for e in past]
        begins = [0] + [n for n in range(1, len(times)) if times[n] - times[n - 1] > timedelta(minutes=30)]
        spans = [(times[a], times[b - 1]) for a, b in itertools.pairwise([*begins, len(times)])]
        recent = [(last - first).total_seconds() for first, last in spans if first >= end - WEEK]
        devices = [e[columns.DEVICE] for e in past if e[columns.DEVICE]]

        assert times, "a snapshot stands where its user was active"
        assert row[columns.TOTAL_ITEMS_CONSUMED] == len({e[columns.ITEM_ID] for e in past})
        assert row[columns.AVG_SESSION_DURATION_7D] == pytest.approx(np.mean(recent) if recent else 0)
        assert row[columns.DEVICE_TYPE] == (devices[-1] if devices else "other")
        assert row[columns.ACTIVE_HOURS] == pytest.approx(
            np.bincount([t.hour for t in times], minlength=24) / len(times)
        )
        assert np.abs(row[columns.GENRE_AFFINITY]).sum() <= 1 + 1e-6


@given(EVENTS)
def test_item_snapshots_equal_a_plain_count_of_the_events_before_them(events: list[dict[str, Any]]) -> None:
    for item in "ijk":
        for row in of_item(item, *events):
            end = row[columns.EVENT_TIMESTAMP]
            past = [e for e in events if e[columns.ITEM_ID] == item and e[columns.TIMESTAMP] < end]
            ratings = [e[columns.VALUE] for e in past if e[columns.VALUE] is not None]
            liked = [e for e in past if e[columns.VALUE] in (None, 5.0) and e[columns.TIMESTAMP] >= end - WEEK]

            assert row[columns.AVG_RATING] == (pytest.approx(np.mean(ratings)) if ratings else None)
            assert row[columns.POPULARITY_SCORE_7D] == len(liked)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(EVENTS)
def test_what_is_joined_to_an_event_knows_nothing_of_it_or_of_what_follows(events: list[dict[str, Any]]) -> None:
    """The profile that an event is trained with is the same when it and all later events never happened."""
    knowing = joined_profiles(table(*events), events)
    for moment in {e[columns.TIMESTAMP] for e in events}:
        before = table(*(e for e in events if e[columns.TIMESTAMP] < moment))
        now = [place for place, e in enumerate(events) if e[columns.TIMESTAMP] == moment]
        if before.num_rows:
            assert np.array_equal(knowing[now], joined_profiles(before, [events[place] for place in now]))
        else:
            assert knowing[now, MISSING].all(), "the first events of all find no features"


def joined_profiles(events: pa.Table, asked: list[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """The profiles of the users of some events just before these."""
    local = Settings(lake_url=f"memory://{uuid.uuid4().hex}")
    lake = Lake(local.lake)
    lake.replace_items(CATALOGUE)
    lake.append_events(events)
    features.build(lake, local)
    times = np.array([int(e[columns.TIMESTAMP].timestamp()) for e in asked])
    ids = sorted({e[columns.USER_ID] for e in asked})
    users = np.array([ids.index(e[columns.USER_ID]) for e in asked])
    return profiles_at(Features(local), ids, users, times, len(CATEGORIES))[:-1]


def test_a_catalogue_without_categories_or_with_gaps_in_them_builds(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.append_events(table(event(0)))
    for categories, vocabulary_then in (([], []), (["A", None], ["A"])):
        item = {columns.ITEM_ID: "i", columns.TITLE: "I", columns.CATEGORIES: categories}
        lake.replace_items(pa.Table.from_pylist([item], ITEM_SCHEMA))
        features.build(lake, SETTINGS)
        assert vocabulary.read(lake) == vocabulary_then
    assert [list(row) for part in snapshots.users(lake) for row in part[columns.GENRE_AFFINITY].to_pylist()] == [[0.5]]


def test_a_build_writes_what_feast_reads_and_grows_the_vocabulary(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.replace_items(CATALOGUE)
    lake.append_events(table(event(0), event(70)))

    assert features.build(lake, SETTINGS) == Built(new_files=1, users=None, user_rows=2, item_rows=4)
    assert vocabulary.read(lake) == ["A", "B", "C"]
    assert (lake.read(USER_FILE).num_rows, lake.read(ITEM_FILE).num_rows) == (2, 4)


def test_a_build_without_events_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tastemaker data import"):
        features.build(Lake(str(tmp_path)), SETTINGS)


def test_the_whole_sample_takes_seconds(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    sample = Path(__file__).parents[3] / "data" / "movielens-small"
    import_data(lake, ImportRequest("movielens", sample), SETTINGS)
    started = time.process_time()
    built = features.build(lake, SETTINGS)

    assert built.user_rows > 610
    assert time.process_time() - started < 10
