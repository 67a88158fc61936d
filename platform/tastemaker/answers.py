"""The JSON that the HTTP API answers with, beside `types.Slate`: the edge encodes these, the client decodes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tastemaker.decisions.explanation import Explanation
from tastemaker.types import ServedFrom, Slate, SlateItem


@dataclass(frozen=True, slots=True)
class ExplainedSlate(Slate):
    """A slate, and how it came about."""

    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class ItemList:
    """Items that are not one user's slate: similar ones, trending ones."""

    request_id: str
    items: tuple[SlateItem, ...]
    model_version: str
    served_from: ServedFrom
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found. Where nothing has the words, `items` is empty and `suggestions` are what is popular."""

    request_id: str
    query: str
    user_id: str | None
    items: tuple[SlateItem, ...]
    suggestions: tuple[SlateItem, ...]
    model_version: str
    served_from: ServedFrom
    degraded: tuple[str, ...] = ()
    stage_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Events that the stream has."""

    event_ids: list[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """What was sent of a user is online now."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Erased:
    """A user is forgotten online; `keys` is how many entries of theirs there were."""

    user_id: str
    keys: int


@dataclass(frozen=True, slots=True)
class Changed:
    """Items that the catalogue's log has. `version` rises with every change."""

    item_ids: list[str]
    version: int


@dataclass(frozen=True, slots=True)
class Alive:
    """The process answers."""

    status: str = "ok"


@dataclass(frozen=True, slots=True)
class Dependency:
    """Whether a dependency answers; `detail` says what it answered otherwise."""

    up: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The edge serves as soon as its shelf is loaded; dependencies that are away cost personal answers, not answers."""

    status: str
    model_version: str
    items: int
    dependencies: dict[str, Dependency]


@dataclass(frozen=True, slots=True)
class Problem:
    """Every error: what is wrong, and what to do."""

    error: str
    remedy: str
