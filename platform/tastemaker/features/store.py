"""Reading and filling the feature store: rows in time for training, rows of now for serving.

Importing this module imports Feast, which takes seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis
import redis.connection
from feast import FeatureStore, RepoConfig
from feast.infra.online_stores.helpers import _redis_key, get_online_store_from_config
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput, Unavailable
from tastemaker.features import snapshots
from tastemaker.features.definitions import ITEM, USER, USER_FEATURES, definitions
from tastemaker.features.files import EMBEDDING_FILE, ITEM_VIEW, USER_VIEW
from tastemaker.features.profile import UserRows, rows_from
from tastemaker.features.snapshots import Ints, Joined
from tastemaker.lake import TIMESTAMP_TYPE, Lake

PROJECT: Final = "tastemaker"
CHUNK: Final = 1000
"""Rows that travel to the online store at once: some 200 KB."""
SNAPSHOTS: Final = {USER_VIEW: (snapshots.users, columns.USER_ID), ITEM_VIEW: (snapshots.items, columns.ITEM_ID)}
# A store that is away must say so at once: the answer falls a step instead. The client's own retries take ten seconds.
IMPATIENT: Final = {"socket_timeout": 2.0, "socket_connect_timeout": 1.0, "retry": None}
SQL_SCHEMES: Final = ("sqlite", "postgresql", "mysql")


class Features:
    """The features of one lake: joined in time from its files, and read online from Redis."""

    def __init__(self, settings: Settings, redis_url: str | None = None) -> None:
        """Open the store; nothing is contacted yet.

        Args:
            redis_url: the online store; by default the one of `settings`. Only online calls need one.
        """
        self._lake = Lake(settings.lake)
        self._redis_url = redis_url or settings.redis_url
        self._config = _repo_config(settings, self._redis_url)
        self._definitions = definitions(self._lake)
        self._online = get_online_store_from_config(self._config.online_store) if self._redis_url else None

    def apply(self) -> FeatureStore:
        """Register the definitions with Feast's registry, so that its own tools find them."""
        store = FeatureStore(config=self._config)
        defined = self._definitions
        store.apply([USER, ITEM, defined.users, defined.items, defined.embeddings, defined.service])
        return store

    def historical(self, user_ids: Sequence[str], users: Ints, times: Ints) -> Iterator[Joined]:
        """The users' features as they were at a time of each row (`snapshots.joined`).

        Feast's own join (0.67) pairs every row with every snapshot of its user and loses rows older than all of them:
        two minutes for the 100,000 rows of the sample, where this ordered join takes 0.2 s. A test holds both equal.

        Args:
            users: (B,) places among `user_ids`. times: (B,) seconds since 1970.

        Raises:
            NotFound: no features have been built.
        """
        return snapshots.joined(self._lake, user_ids, users, times)

    def materialize(
        self,
        views: Sequence[str] = (USER_VIEW, ITEM_VIEW),
        progress: Callable[[str, int], None] = lambda _view, _written: None,
    ) -> dict[str, int]:
        """Put the newest row of every user (and item) online; returns the rows of each view.

        Args:
            progress: told the view and the rows written so far.

        Raises:
            NotFound: no features have been built.
            Unavailable: the online store does not answer.
        """
        self._require_online()
        store = self.apply()
        written = dict.fromkeys(views, 0)
        for view in views:
            read, key = SNAPSHOTS[view]
            for rows in snapshots.newest(read(self._lake), key):
                with self._guarded():
                    for start in range(0, rows.num_rows, CHUNK):
                        store.write_to_online_store(view, rows.slice(start, CHUNK).to_pandas())
                written[view] += rows.num_rows
                progress(view, written[view])
        return written

    def online_users(self, user_ids: Sequence[str], now: float | None = None) -> UserRows:
        """The users' newest rows, in one round trip for all of them.

        Args:
            now: seconds since 1970 that ages are counted from; by default the present.

        Raises:
            Unavailable: the online store does not answer.
        """
        online = self._require_online()
        keys = [_entity(user_id) for user_id in user_ids]
        # Beneath get_online_features, whose response costs as much to build and take apart as the read itself.
        with self._guarded():
            found = online.online_read(self._config, self._definitions.users, keys, list(USER_FEATURES))
        moment = time.time() if now is None else now
        # Feast answers for a user without a row with a row of 1970.
        times = np.array([row_time.timestamp() if row_time else 0.0 for row_time, _ in found])
        ages = np.where(times > 0, moment - times, np.nan)
        values = [row or {} for _, row in found]
        return rows_from({name: [_plain(row.get(name)) for row in values] for name in USER_FEATURES}, ages)

    def forget(self, user_ids: Sequence[str]) -> None:
        """Take users' rows out of the online store.

        Raises:
            Unavailable: the online store does not answer.
        """
        online = self._require_online()
        with self._guarded():
            client = online._get_client(self._config.online_store)
            for start in range(0, len(user_ids), CHUNK):
                with client.pipeline(transaction=False) as pipe:
                    for user_id in user_ids[start : start + CHUNK]:
                        pipe.delete(
                            _redis_key(PROJECT, _entity(user_id), self._config.entity_key_serialization_version)
                        )
                    pipe.execute()

    def _require_online(self) -> Any:
        if self._online is None:
            raise Unavailable("no online store is configured", "Set TASTEMAKER_REDIS_URL, or pass --redis-url")
        return self._online

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            place = self._config.online_store.connection_string.split(",")[0]
            raise Unavailable(
                f"the online store at {place} does not answer: {str(error)[:200]}", "Check TASTEMAKER_REDIS_URL"
            ) from error


def _entity(user_id: str) -> EntityKey:
    return EntityKey(join_keys=[columns.USER_ID], entity_values=[Value(string_val=user_id)])


def publish_embeddings(
    lake: Lake, item_ids: Sequence[str], vectors: npt.NDArray[np.float32], published_at: datetime
) -> None:
    """Make a bundle's item vectors (N, D) the rows of the `item_embeddings` view as of `published_at`."""
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    values = pa.array(np.asarray(vectors, dtype=np.float32).ravel())
    table = pa.table(
        {
            columns.ITEM_ID: pa.array(item_ids, pa.string()),
            columns.EVENT_TIMESTAMP: pa.array([published_at] * len(vectors), TIMESTAMP_TYPE),
            columns.EMBEDDING: pa.ListArray.from_arrays(pa.array(offsets), values),
        }
    )
    lake.write(EMBEDDING_FILE, table)


def connection_string(url: str) -> str:
    """Feast's form of a redis://, rediss:// or unix:// URL: `host:port,name=json,…`.

    Raises:
        InvalidInput: it is none of these.
    """
    try:
        parsed = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InvalidInput(f"the Redis URL cannot be read: {error}", "Give redis://[:PASSWORD@]HOST:PORT/DB") from error
    parameters: dict[str, Any] = {**IMPATIENT, **parsed}
    kind = parameters.pop("connection_class", None)
    host, port = parameters.pop("host", "localhost"), parameters.pop("port", 6379)
    if kind is redis.connection.SSLConnection:
        parameters["ssl"] = True
    if "path" in parameters:
        parameters["unix_socket_path"] = parameters.pop("path")
    # Feast parts parameters at commas before it reads their JSON, so a comma inside must not look like one.
    comma = r"\u002c"
    written = (f"{name}={json.dumps(value).replace(',', comma)}" for name, value in parameters.items())
    return ",".join([f"{host}:{port}", *written])


def _repo_config(settings: Settings, redis_url: str | None) -> RepoConfig:
    registry = settings.feast_registry or str((settings.home / "feast" / "registry.db").absolute())
    is_sql = registry.split("://")[0].split("+")[0] in SQL_SCHEMES
    # The newest batch counts even when it is of the same hour as the one before, which Feast would skip as known.
    online = redis_url and {"type": "redis", "connection_string": connection_string(redis_url), "skip_dedup": True}
    return RepoConfig(
        project=PROJECT,
        provider="local",
        registry={"registry_type": "sql", "path": registry} if is_sql else registry,
        online_store=online,
        offline_store={"type": "dask"},
        entity_key_serialization_version=3,
    )


def _plain(value: Value | None) -> Any:
    """What a Feast value holds."""
    kind = value.WhichOneof("val") if value is not None else None
    if value is None or kind is None:
        return None
    held = getattr(value, kind)
    return np.fromiter(held.val, np.float32, len(held.val)) if kind == "float_list_val" else held
