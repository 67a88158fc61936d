"""The name of every column, once. Frames, Parquet files and Feast definitions all take their names from here."""

from __future__ import annotations

from typing import Final

# Events
EVENT_ID: Final = "event_id"
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
EVENT_TYPE: Final = "event_type"
TIMESTAMP: Final = "timestamp"
VALUE: Final = "value"
SESSION_ID: Final = "session_id"
DEVICE: Final = "device"
SCENE: Final = "scene"
REQUEST_ID: Final = "request_id"
POSITION: Final = "position"

# Items
TITLE: Final = "title"
CATEGORIES: Final = "categories"
RELEASE_YEAR: Final = "release_year"
CONTENT_LENGTH_MIN: Final = "content_length_min"
TEXT: Final = "text"
AUTHOR: Final = "author"
PUBLISHED_AT: Final = "published_at"
AVAILABLE: Final = "available"

# Users
CREATED_AT: Final = "created_at"
COUNTRY: Final = "country"

# User features
AVG_SESSION_DURATION_7D: Final = "avg_session_duration_7d"
GENRE_AFFINITY: Final = "genre_affinity"
ACTIVE_HOURS: Final = "active_hours"
DEVICE_TYPE: Final = "device_type"
ACCOUNT_AGE_DAYS: Final = "account_age_days"
TOTAL_ITEMS_CONSUMED: Final = "total_items_consumed"

# Item features
EMBEDDING: Final = "embedding"
GENRE: Final = "genre"
AVG_RATING: Final = "avg_rating"
POPULARITY_SCORE_7D: Final = "popularity_score_7d"

# Feature rows
EVENT_TIMESTAMP: Final = "event_timestamp"
FEATURE_AGE_S: Final = "feature_age_s"
