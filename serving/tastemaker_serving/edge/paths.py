"""Paths are told apart as they were sent, still percent-encoded: so an id in one may hold any character."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send


class Encoded:
    """ASGI middleware: routes match the encoded path, where only the slashes between its parts are slashes.

    Servers undo the encoding first, and `%2F` would part an id in two. What a route takes from the path is decoded by
    `requests.path_id`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the path that it was sent to."""
        sent: bytes = scope.get("raw_path") or b""
        if b"%" in sent:
            scope["path"] = "/".join(_spelt_alike(part) for part in sent.decode("utf-8", "replace").split("/"))
        await self._app(scope, receive, send)


def _spelt_alike(part: str) -> str:
    """A part of a path with nothing encoded that need not be: `%61%2f` is `a%2F`."""
    return quote(unquote(part), safe="")
