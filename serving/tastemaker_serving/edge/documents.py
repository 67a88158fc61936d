"""What OpenAPI says of each call: its parameters, its answers with an example, its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.responses import PlainTextResponse

from tastemaker.answers import Accepted, Alive, Dependency, ItemList, Problem, Readiness
from tastemaker.events.schema import MAX_EVENTS, EventForm
from tastemaker.keys import Scope
from tastemaker.types import Slate, SlateItem
from tastemaker_serving.edge.parameters import (
    NoParameters,
    SimilarParameters,
    SlateParameters,
    TrendingParameters,
    openapi,
)

EVENTS_PATH = "/v1/events"

_REQUEST_ID = "5f1c3d0e8a7b4c2f9d6e1a0b3c4d5e6f"
_ITEM = SlateItem("318", 0.93, 0, "two-tower", "Because you liked The Green Mile")
_SLATE = Slate(_REQUEST_ID, "42", "home", (_ITEM,), "a1b2c3d4e5f6", "ranked", stage_ms={"cache": 0.4, "ray": 21.7})
_SIMILAR = ItemList(
    _REQUEST_ID, (SlateItem("50", 0.41, 0, "item-to-item", "Similar to Pulp Fiction"),), "a1b2c3d4e5f6", "session"
)
_TRENDING = ItemList(_REQUEST_ID, (SlateItem("50", 12.5, 0, "trending", "Trending now"),), "a1b2c3d4e5f6", "trending")
_READY = Readiness("ready", "a1b2c3d4e5f6", 9742, {"redis": Dependency(True), "ray": Dependency(True)})
_EVENT = {"user_id": "42", "item_id": "318", "event_type": "rating", "value": 4.5}


class Refusal(NamedTuple):
    """What an error status means, and an example of it."""

    meaning: str
    error: str
    remedy: str


BAD = Refusal("the request cannot be used", "query parameter 'n' is '0'", "Expected int >= 1")
NO_ITEM = Refusal("no such item", "no item 'x' in the catalogue", "Use the item_id of a slate or of the item data")
NO_CATEGORY = Refusal("no such category", "unknown category 'Opera'", "Use one of Comedy, Drama, Thriller")
TOO_LARGE = Refusal(
    "the body is too large",
    "the body has more than 1048576 bytes",
    "Send less at a time (edge.max_body_bytes)",
)
NOT_JSON = Refusal("the body is not JSON", "Content-Type is 'text/plain'", "Send `Content-Type: application/json`")
AWAY = Refusal(
    "a dependency does not answer, or has not said yet which API keys there are; `Retry-After` says when to try again",
    "Redis does not answer",
    "Try again in a moment",
)
BODY_ERRORS = {400: BAD, 413: TOO_LARGE, 415: NOT_JSON, 503: AWAY}
"""Of every call that takes a body and writes."""
_GUARDED = {
    401: Refusal(
        "the caller shows no API key that is known, where one is needed",
        "this call needs an API key",
        "Send `Authorization: Bearer KEY` with a key of `tastemaker keys create`",
    ),
    403: Refusal(
        "the key has other scopes",
        "key 5f1c3d0e8a7b has the scopes read; this call needs write",
        "Use a key of `tastemaker keys create --scope write`",
    ),
    429: Refusal(
        "the caller asks more often than it may; `Retry-After` says when to try again",
        "key 5f1c3d0e8a7b may send 100 requests per second",
        "Wait as long as `Retry-After` says",
    ),
}
_HELD_BACK = Refusal(
    "too many events wait already, or the caller asks too often; `Retry-After` says when to try again",
    "1000000 events wait for the ingest worker (ingest.max_backlog)",
    "Keep the events, wait as long as `Retry-After` says, and send them again",
)
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}}}
_KEY = Security(HTTPBearer(auto_error=False, description="A key of `tastemaker keys create`, or `edge.api_key`"))


def answer(
    model: type,
    example: Any,
    status: int = 200,
    *,
    scope: Scope | None = None,
    errors: Mapping[int, Refusal] = MappingProxyType({}),
) -> dict[str, Any]:
    """Keyword arguments of a route.

    Args:
        scope: what `requests.admitted` asks for; its refusals are documented, too.
        errors: what else it may answer, by status.
    """
    shown = msgspec.to_builtins(example)
    responses: dict[int, dict[str, Any]] = {status: {"content": {"application/json": {"example": shown}}}}
    for code, (meaning, error, remedy) in {**(_GUARDED if scope else {}), **errors}.items():
        content = {"application/json": {"example": {"error": error, "remedy": remedy}}}
        responses[code] = {"model": Problem, "description": meaning, "content": content}
        if code in (429, 503):
            responses[code]["headers"] = _RETRY_AFTER
    # Documents the key; `requests.admitted` checks it.
    guard = {"dependencies": [_KEY]} if scope else {}
    return {"response_model": model, "status_code": status, "responses": responses, **guard}


def reading(document: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a call that needs no key while `edge.open_reads` is on."""
    return {"openapi_extra": document | {"security": [{}]}}


def body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """The `openapi_extra` of a call that takes JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


def narrow(document: dict[str, Any], scenes: Sequence[str], event_types: Sequence[str]) -> None:
    """Name in the whole document what this installation declares."""
    for operation in chain.from_iterable(path.values() for path in document["paths"].values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "scene":
                parameter["schema"]["enum"] = list(scenes)
    events = document["paths"][EVENTS_PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for event in (events["oneOf"][0], events["oneOf"][1]["items"]):
        event["properties"]["event_type"] = {"type": "string", "enum": list(event_types)}


def in_path(name: str) -> dict[str, Any]:
    """The `openapi_extra` of a call whose only parameter is an id in its path."""
    return openapi([name], NoParameters)


def _events() -> dict[str, Any]:
    event = msgspec.json.schema(EventForm)["$defs"][EventForm.__name__]
    return {"oneOf": [event, {"type": "array", "items": event, "maxItems": MAX_EVENTS}]}


SLATE = answer(Slate, _SLATE, scope="read", errors={400: BAD, 503: AWAY}) | reading(
    openapi(["user_id"], SlateParameters)
)
SIMILAR = answer(ItemList, _SIMILAR, scope="read", errors={400: BAD, 404: NO_ITEM, 503: AWAY}) | reading(
    openapi(["item_id"], SimilarParameters)
)
TRENDING = answer(ItemList, _TRENDING, scope="read", errors={400: BAD, 404: NO_CATEGORY, 503: AWAY}) | reading(
    openapi([], TrendingParameters)
)
EVENTS = answer(Accepted, Accepted([_REQUEST_ID]), 202, scope="write", errors=BODY_ERRORS | {429: _HELD_BACK}) | {
    "openapi_extra": body(_events(), _EVENT)
}
ALIVE = answer(Alive, Alive())
READY = answer(Readiness, _READY, errors={503: AWAY})
METRICS: dict[str, Any] = {
    "response_model": None,
    "response_class": PlainTextResponse,
    "responses": {200: {"content": {"text/plain": {"example": "tastemaker_slates_total 1.0"}}}},
}
