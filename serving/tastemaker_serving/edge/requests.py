"""What the handlers of all calls take from a request and give back: bytes in, bytes out (msgspec)."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.errors import TooLarge, UnsupportedMedia
from tastemaker.keys import Scope
from tastemaker_serving.edge import parameters
from tastemaker_serving.edge.parameters import REQUEST_ID
from tastemaker_serving.edge.state import Edge

_encode = msgspec.json.Encoder().encode


def admitted(request: Request, scope: Scope) -> Edge:
    """What the process holds, for a caller who may do what needs `scope`.

    Raises:
        Unauthorized, Forbidden, Unavailable, TooManyRequests: see `Gate.admit`.
    """
    edge = edge_of(request)
    edge.gate.admit(request.headers.get("authorization"), scope)
    return edge


def permitted(request: Request, scope: Scope) -> None:
    """Refuse what needs `scope` to a caller who was admitted with less; it is still one request.

    Raises:
        Unauthorized, Forbidden, Unavailable: see `Gate.check`.
    """
    edge_of(request).gate.check(request.headers.get("authorization"), scope)


def edge_of(request: Request) -> Edge:
    """What the process holds; the app's lifespan put it there."""
    edge: Edge = request.app.state.edge
    return edge


async def json_body(request: Request) -> bytes:
    """The body, when it says that it is JSON: browsers then ask before they send it from another site.

    Raises:
        UnsupportedMedia: it says something else.
        TooLarge: it has more than `edge.max_body_bytes`.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMedia(f"Content-Type is {kind!r:.80}", "Send `Content-Type: application/json`")
    limit = edge_of(request).settings.edge.max_body_bytes
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body has more than {limit} bytes", "Send less at a time (edge.max_body_bytes)")
    return body


def path_id(request: Request, name: str) -> str:
    """The id `name` in the path. Raises InvalidInput for one that no event could carry."""
    value = unquote(request.path_params[name])  # see `paths`
    parameters.check_id(name, value)
    return value


def request_id(request: Request) -> str:
    """The caller's own, or else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def json_answer(answer: Any, status: int = 200) -> Response:
    """`answer`, a dataclass of `answers` or `types`, as JSON."""
    return Response(_encode(answer), status, media_type="application/json")
