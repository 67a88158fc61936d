"""The features, defined once for both paths: training joins them in time, serving reads them online.

Importing this module imports Feast, which takes seconds: the edge and the command line's `--help` stay away from it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, FeastType, Float32, Int64, String

from tastemaker import columns
from tastemaker.features.files import EMBEDDING_FILE, EMBEDDING_VIEW, ITEM_FILE, ITEM_VIEW, USER_FILE, USER_VIEW
from tastemaker.lake import Lake

SERVICE = "ranking_v1"

USER = Entity(name="user", join_keys=[columns.USER_ID], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=[columns.ITEM_ID], value_type=ValueType.STRING)

USER_FEATURES: dict[str, FeastType] = {
    columns.AVG_SESSION_DURATION_7D: Float32,
    columns.GENRE_AFFINITY: Array(Float32),
    columns.ACTIVE_HOURS: Array(Float32),
    columns.DEVICE_TYPE: String,
    columns.ACCOUNT_AGE_DAYS: Float32,
    columns.TOTAL_ITEMS_CONSUMED: Int64,
}
ITEM_FEATURES: dict[str, FeastType] = {
    columns.GENRE: String,
    columns.RELEASE_YEAR: Int64,
    columns.AVG_RATING: Float32,
    columns.POPULARITY_SCORE_7D: Float32,
    columns.CONTENT_LENGTH_MIN: Float32,
}
EMBEDDING_FEATURES: dict[str, FeastType] = {columns.EMBEDDING: Array(Float32)}


@dataclass(frozen=True)
class Definitions:
    """Feast's objects over the files of one lake."""

    users: FeatureView
    items: FeatureView
    embeddings: FeatureView
    service: FeatureService


def definitions(lake: Lake) -> Definitions:
    """The feature views over `lake`, and the service that a ranking model names."""
    users = _view(lake, USER_VIEW, USER_FILE, USER, USER_FEATURES)
    items = _view(lake, ITEM_VIEW, ITEM_FILE, ITEM, ITEM_FEATURES)
    embeddings = _view(lake, EMBEDDING_VIEW, EMBEDDING_FILE, ITEM, EMBEDDING_FEATURES)
    return Definitions(users, items, embeddings, FeatureService(name=SERVICE, features=[users, items]))


def schema_hash() -> str:
    """16 hex digits that change whenever a name or a type that `ranking_v1` serves changes."""
    views = {USER_VIEW: USER_FEATURES, ITEM_VIEW: ITEM_FEATURES}
    described = {view: {name: str(kind) for name, kind in features.items()} for view, features in views.items()}
    return hashlib.sha256(json.dumps([SERVICE, described], sort_keys=True).encode()).hexdigest()[:16]


def _view(lake: Lake, name: str, file: str, entity: Entity, features: dict[str, FeastType]) -> FeatureView:
    key = entity.join_key
    return FeatureView(
        name=name,
        entities=[entity],
        # A user who was away for a year still has the tastes of last year; the row's age tells.
        ttl=timedelta(0),
        schema=[Field(name=key, dtype=String), *(Field(name=name, dtype=kind) for name, kind in features.items())],
        source=FileSource(name=name, path=lake.locate(file), timestamp_field=columns.EVENT_TIMESTAMP),
    )
