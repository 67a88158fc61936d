"""A span for every request to the API; installed only where traces go to a collector."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastemaker import telemetry

TRACED = "/v1/"
"""Probes of the cluster and scrapes of Prometheus would be most of all traces."""


class Traced:
    """ASGI middleware: continues the caller's trace, or begins one."""

    def __init__(self, app: ASGIApp, paths: Mapping[object, str]) -> None:
        """`paths` gives the path template of each handler; spans are named by it, never by a user."""
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on within its span."""
        if scope["type"] != "http" or not scope["path"].startswith(TRACED):
            return await self._app(scope, receive, send)
        with telemetry.request(scope["method"], scope["headers"]) as span:
            assert span is not None

            async def noting_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, noting_status)
            finally:
                route = self._paths.get(scope.get("endpoint"), "unknown")
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes({"http.request.method": scope["method"], "http.route": route})
