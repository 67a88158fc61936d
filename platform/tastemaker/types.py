"""The nouns of the field, as frozen dataclasses. Ids are strings here; models use their own integer codes inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

ServedFrom = Literal["cache", "ranked", "candidates", "session", "segment", "trending", "static"]
"""Where a slate came from: the rungs of the fallback ladder; `cache` is the fast path, too (a rung when stale)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something a user did with an item. `timestamp` is UTC; `value` is on the event type's own scale."""

    event_id: str
    user_id: str
    item_id: str
    event_type: str
    timestamp: datetime
    value: float | None = None
    session_id: str | None = None
    device: str | None = None
    scene: str | None = None
    request_id: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the catalogue. `text` is whatever words describe it beyond its title.

    `author` is whoever made or sells it; `published_at` (UTC) is when it came out, to the second where news counts.
    An item that is not `available` stays in the catalogue and out of slates.
    """

    item_id: str
    title: str
    categories: tuple[str, ...] = ()
    release_year: int | None = None
    content_length_min: float | None = None
    text: str = ""
    author: str | None = None
    published_at: datetime | None = None
    available: bool = True


@dataclass(frozen=True, slots=True)
class SlateItem:
    """One place of a slate. `source` names the candidate source that proposed it, `reason` is for people."""

    item_id: str
    score: float
    position: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Slate:
    """The answer to a request for recommendations."""

    request_id: str
    user_id: str
    scene: str
    items: tuple[SlateItem, ...]
    model_version: str
    served_from: ServedFrom
    experiments: dict[str, str] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    stage_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A registered version of a bundle, and where its files lie."""

    name: str
    version: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"
