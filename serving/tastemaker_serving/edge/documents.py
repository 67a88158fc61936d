"""What OpenAPI says of each call: its parameters, its answers with an example, its errors."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
from fastapi import Security
from fastapi.security import HTTPBearer

from tastemaker.events.schema import MAX_EVENTS, EventForm
from tastemaker.types import Slate, SlateItem
from tastemaker_serving.edge.answers import Accepted, Alive, Dependency, ItemList, Problem, Readiness
from tastemaker_serving.edge.parameters import SimilarParameters, SlateParameters, TrendingParameters, openapi

_REQUEST_ID = "5f1c3d0e8a7b4c2f9d6e1a0b3c4d5e6f"
_ITEM = SlateItem("318", 0.93, 0, "two-tower", "Because you liked The Green Mile")
_SLATE = Slate(_REQUEST_ID, "42", "home", (_ITEM,), "a1b2c3d4e5f6", "ranked", stage_ms={"cache": 0.4, "ray": 21.7})
_SIMILAR = ItemList(
    _REQUEST_ID, (SlateItem("50", 0.41, 0, "item-to-item", "Similar to Pulp Fiction"),), "a1b2c3d4e5f6", "session"
)
_TRENDING = ItemList(_REQUEST_ID, (SlateItem("50", 12.5, 0, "trending", "Trending now"),), "a1b2c3d4e5f6", "trending")
_READY = Readiness("ready", "a1b2c3d4e5f6", 9742, {"redis": Dependency(True), "ray": Dependency(True)})
_EVENT = {"user_id": "42", "item_id": "318", "event_type": "rating", "value": 4.5}

_BAD = ("the request cannot be used", "query parameter 'n' is '0'", "Expected int >= 1")
_NO_KEY = ("the caller did not show the API key", "this call needs the API key", "Send `Authorization: Bearer KEY`")
_NO_ITEM = ("no such item", "no item 'x' in the catalogue", "Use the item_id of a slate or of the item data")
_AWAY = (
    "the stream does not answer; `Retry-After` says when to try again",
    "Redis does not answer",
    "Try again in a moment",
)


def _answer(model: type, example: Any, status: int = 200, **errors: tuple[str, str, str]) -> dict[str, Any]:
    """Keyword arguments of a route; `errors` are named by their status, as in `e404`."""
    shown = asdict(example)
    responses: dict[int, dict[str, Any]] = {status: {"content": {"application/json": {"example": shown}}}}
    for name, (meaning, error, remedy) in errors.items():
        content = {"application/json": {"example": {"error": error, "remedy": remedy}}}
        responses[int(name[1:])] = {"model": Problem, "description": meaning, "content": content}
    return {"response_model": model, "status_code": status, "responses": responses}


def _body() -> dict[str, Any]:
    event = msgspec.json.schema(EventForm)["$defs"][EventForm.__name__]
    schema = {"oneOf": [event, {"type": "array", "items": event, "maxItems": MAX_EVENTS}]}
    content = {"application/json": {"schema": schema, "example": _EVENT}}
    return {"requestBody": {"required": True, "content": content}}


SLATE = _answer(Slate, _SLATE, e400=_BAD) | {"openapi_extra": openapi(["user_id"], SlateParameters)}
SIMILAR = _answer(ItemList, _SIMILAR, e400=_BAD, e404=_NO_ITEM) | {
    "openapi_extra": openapi(["item_id"], SimilarParameters)
}
TRENDING = _answer(ItemList, _TRENDING, e400=_BAD) | {"openapi_extra": openapi([], TrendingParameters)}
EVENTS = _answer(Accepted, Accepted([_REQUEST_ID]), 202, e400=_BAD, e401=_NO_KEY, e503=_AWAY) | {
    "openapi_extra": _body(),
    # Documents the key; `authorize_writer` checks it.
    "dependencies": [Security(HTTPBearer(auto_error=False, description="`edge.api_key`, where one is set"))],
}
ALIVE = _answer(Alive, Alive())
READY = _answer(Readiness, _READY)
METRICS: dict[str, Any] = {
    "response_model": None,
    "responses": {200: {"content": {"text/plain": {"example": "tastemaker_slates_total 1.0"}}}},
}
