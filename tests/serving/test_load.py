from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tastemaker_serving.load import drive

SLATE: dict[str, object] = {"served_from": "ranked", "items": [{"item_id": "i1"}], "stage_ms": {"ranking": 3.0}}
ODD: dict[str, dict[str, object]] = {"lower": {"served_from": "trending"}, "empty": {"items": []}}


class Edge(BaseHTTPRequestHandler):
    """Answers by user: `fine`, `lower` from a lower rung, `empty` without items, `broken` with 503."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        user = self.path.split("/")[3]
        slate = SLATE | ODD.get(user, {})
        body = json.dumps(slate).encode()
        self.send_response(503 if user == "broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Edge) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def test_every_request_is_timed_and_bad_answers_are_counted(url: str) -> None:
    load = await drive(url, requests=40, concurrency=4, user_ids=["fine", "lower", "empty", "broken"])

    assert len(load.latency_ms) == 40
    assert (load.errors, load.degraded) == (20, 10)
    assert load.stage_ms == {"ranking": [3.0] * 20}
    assert load.elapsed_s > 0


async def test_a_server_that_is_away_is_an_error_not_a_crash() -> None:
    load = await drive("http://127.0.0.1:1", requests=3, concurrency=2, user_ids=["fine"])

    assert load.errors == 3
