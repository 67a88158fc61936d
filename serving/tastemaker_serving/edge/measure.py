"""Counts and times every request, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker.metrics import REQUEST_SECONDS

_seconds = cache(REQUEST_SECONDS.labels)


class Measured:
    """ASGI middleware that observes `tastemaker_request_seconds`."""

    def __init__(self, app: ASGIApp, paths: Mapping[object, str]) -> None:
        """`paths` gives the path template of each handler; a request that reached none counts as `unknown`."""
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note its status and time."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = perf_counter()
        code = 500

        async def noting_status(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        finally:
            endpoint = self._paths.get(scope.get("endpoint"), "unknown")
            _seconds(endpoint, str(code)).observe(perf_counter() - started)
