"""What the handlers of all calls take from a request and give back: bytes in, bytes out (msgspec)."""

from __future__ import annotations

import re
import uuid
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.errors import InvalidInput
from tastemaker_serving.edge import parameters
from tastemaker_serving.edge.state import Edge

MAX_BODY = 1 << 20
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_encode = msgspec.json.Encoder().encode


def edge_of(request: Request) -> Edge:
    """What the process holds; the app's lifespan put it there."""
    edge: Edge = request.app.state.edge
    return edge


async def json_body(request: Request) -> bytes:
    """The body, when it says that it is JSON: browsers then ask before they send it from another site.

    Raises:
        InvalidInput: it says something else, or is too long.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise InvalidInput(f"Content-Type is {kind!r:.80}", "Send `Content-Type: application/json`")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise InvalidInput(f"the body has more than {MAX_BODY} bytes", "Send less at a time")
    return body


def path_id(request: Request, name: str) -> str:
    """The id `name` in the path. Raises InvalidInput for one that no event could carry."""
    value: str = request.path_params[name]
    parameters.check_id(name, value)
    return value


def request_id(request: Request) -> str:
    """The caller's own, or else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def json_answer(answer: Any, status: int = 200) -> Response:
    """`answer`, a dataclass of `answers` or `types`, as JSON."""
    return Response(_encode(answer), status, media_type="application/json")
