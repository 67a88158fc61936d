"""Every call of the HTTP API: how it is sent, and what comes back."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from tastemaker.answers import Accepted, Changed, Erased, ExplainedSlate, Found, ItemList, Readiness, Stored
from tastemaker.decisions.explanation import Explanation
from tastemaker.events.schema import EventForm
from tastemaker.events.trending import Window
from tastemaker.types import Item

Answer = TypeVar("Answer")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and the type of its answer."""

    method: str
    path: str
    answer: type[Answer]
    query: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


def recommend(  # noqa: PLR0913
    user_id: str,
    *,
    n: int | None = None,
    scene: str | None = None,
    device: str | None = None,
    country: str | None = None,
    exclude: Iterable[str] = (),
    page: int = 0,
    force_refresh: bool = False,
    explain: bool = False,
) -> Call[ExplainedSlate]:
    """A personal slate of `n` items, without those in `exclude`. `explain` needs an admin key.

    Args:
        page: from 0 to 9; later pages show what the earlier ones did not.
    """
    flags = {"force_refresh": force_refresh or None, "explain": explain or None}
    excluded = list(exclude)
    if len(excluded) == 1 and "," in excluded[0]:
        excluded *= 2  # given once, its commas would separate ids
    query = [
        *_query(n=n, scene=scene, device=device, country=country, page=page or None, **flags),
        *(("exclude", item_id) for item_id in excluded),
    ]
    return Call("GET", f"/v1/users/{_part(user_id)}/recommendations", ExplainedSlate, query)


def continue_session(item_ids: Sequence[str], *, n: int | None = None) -> Call[ItemList]:
    """What goes on from the items that an unknown visitor took to in this session, oldest first."""
    return Call("POST", "/v1/sessions/recommendations", ItemList, body=_body(item_ids=list(item_ids), n=n))


def similar(item_id: str, *, n: int | None = None, user_id: str | None = None) -> Call[ItemList]:
    """Items near one item; with a user, in their order and without what they have seen."""
    return Call("GET", f"/v1/items/{_part(item_id)}/similar", ItemList, _query(n=n, user_id=user_id))


def trending(
    *, n: int | None = None, category: str | None = None, window: Window | None = None, country: str | None = None
) -> Call[ItemList]:
    """What users take to now, in one category or in all, in one country or everywhere."""
    return Call("GET", "/v1/trending", ItemList, _query(n=n, category=category, window=window, country=country))


def search(query: str, *, user_id: str | None = None, n: int | None = None) -> Call[Found]:
    """Items with the words of `query`; with a user, their taste has a say in the order."""
    return Call("POST", "/v1/search", Found, body=_body(query=query, user_id=user_id, n=n))


def send(events: Sequence[EventForm]) -> Call[Accepted]:
    """Send events, all or none. Each gets an `event_id` where it has none, so that it counts once if sent twice."""
    named = [event if event.event_id else msgspec.structs.replace(event, event_id=uuid.uuid4().hex) for event in events]
    return Call("POST", "/v1/events", Accepted, body=_encode(named))


def put_profile(user_id: str, *, country: str | None = None, created_at: datetime | None = None) -> Call[Stored]:
    """Replace what a user's account says of them. `created_at` needs a time zone."""
    return Call("PUT", f"/v1/users/{_part(user_id)}", Stored, body=_body(country=country, created_at=created_at))


def put_preferences(user_id: str, *, categories: Sequence[str] = (), items: Sequence[str] = ()) -> Call[Stored]:
    """Replace what a new user said they like."""
    body = _body(categories=list(categories), items=list(items))
    return Call("PUT", f"/v1/users/{_part(user_id)}/preferences", Stored, body=body)


def erase_user(user_id: str) -> Call[Erased]:
    """Forget a user. Needs an admin key."""
    return Call("DELETE", f"/v1/users/{_part(user_id)}", Erased)


def put_items(items: Sequence[Item]) -> Call[Changed]:
    """Add items or replace what is known of them, all or none. Needs an admin key."""
    return Call("PUT", "/v1/items", Changed, body=_encode(items))


def remove_item(item_id: str) -> Call[Changed]:
    """Remove an item: it is in no slate any more. Needs an admin key."""
    return Call("DELETE", f"/v1/items/{_part(item_id)}", Changed)


def explain(request_id: str, *, item: str | None = None) -> Call[Explanation]:
    """How a recent slate came about, and what became of `item`. Needs an admin key."""
    return Call("GET", f"/v1/requests/{_part(request_id)}", Explanation, _query(item=item))


def readiness() -> Call[Readiness]:
    """What the edge serves, and which of its dependencies answer."""
    return Call("GET", "/readyz", Readiness)


def _part(name: str) -> str:
    return quote(name, safe="")


def _query(**parameters: str | int | bool | None) -> list[tuple[str, str]]:
    """Parameters that are set; JSON spells booleans as the API does."""
    return [
        (name, value if isinstance(value, str) else _encode(value).decode())
        for name, value in parameters.items()
        if value is not None
    ]


def _body(**fields: Any) -> bytes:
    return _encode({name: value for name, value in fields.items() if value is not None})
