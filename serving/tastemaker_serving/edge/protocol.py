"""HTTP on the wire: what is no HTTP is refused in the form of every other error."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tastemaker.answers import Problem

REFUSAL = msgspec.json.encode(
    Problem("this is no HTTP request, or its URL is too long", "Send HTTP/1.1; a URL has 65,535 bytes at most")
)


class Protocol(HttpToolsProtocol):
    """uvicorn's, which answers in plain text where its parser gives up: on a URL above 64 KiB, too."""

    def send_400_response(self, msg: str) -> None:
        """Refuse, and close the connection."""
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(REFUSAL)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + REFUSAL)
        self.transport.close()
