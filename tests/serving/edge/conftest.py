"""The edge in this process, and a stand-in for Ray Serve on a real port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import uvicorn
from redis import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from tastemaker import config
from tastemaker.decisions.record import Trace
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker_serving import wire
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.edge.protocol import Protocol
from tastemaker_serving.edge.shelf import Shelf, load

SLATE = "/v1/users/7/recommendations"
EVENT = {"user_id": "7", "item_id": "i59", "event_type": "like"}
API_KEY = "alone"


class FakeRay:
    """Answers micro-batches as the Recommender does; the end-to-end test uses the real Ray.

    Ranks i59, i58, … without the excluded items, and named candidates from the last to the first. `healthy` off
    answers 500; `short` limits a slate; `lost` slates are missing from each answer.
    """

    def __init__(self) -> None:
        self.batches: list[list[wire.Query]] = []
        self.healthy = True
        self.short = 1000
        self.lost = 0
        self.degraded: list[str] = []
        self.version = "model-1"
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        queries = wire.decode_queries(message["body"])
        self.batches.append(queries)
        batch = wire.Batch(
            self.version, [self._slate(query) for query in queries[self.lost :]], {"rank": 1.5}, self.degraded
        )
        status, body = (200, wire.encode_batch(batch)) if self.healthy else (500, b"broken")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def _slate(self, query: wire.Query) -> wire.RankedSlate:
        whole = query.candidates[::-1] or [f"i{code}" for code in range(59, -1, -1)]
        ranked = [item_id for item_id in whole if item_id not in query.exclude]
        ids = ranked[: min(query.n, self.short)]
        count = len(ids)
        scores = [1.0 - place / 100 for place in range(count)]
        trace = self._trace(ranked) if query.traced else None
        return wire.RankedSlate(ids, scores, ["two-tower"] * count, ["For you"] * count, "ranked", trace=trace)

    def _trace(self, ranked: list[str]) -> Trace:
        """All but one of the items were candidates; the first thirty went on to re-ranking."""
        candidates = [item_id for item_id in ranked if item_id != "i5"]
        count = len(candidates)
        return Trace(
            query=b"",
            now=1_800_000_000,
            trail=b"",
            profile=b"",
            candidates=candidates,
            sources=["two-tower"] * count,
            scores=np.linspace(1, 0, count, dtype=np.float32).tobytes(),
            signal_names=["two_tower"],
            signals=np.linspace(9, 0, count, dtype=np.float32).tobytes(),
            ranked=30,
            dropped=[],
            slate=candidates[:1],
        )


@pytest.fixture(scope="session")
def shelf(bundle_path: Path) -> Shelf:
    """What the edge keeps of the tiny bundle."""
    return load(bundle_path)


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A stand-in that answers until the test stops it."""
    with standing_in() as fake:
        yield fake


@pytest.fixture
def newcomer() -> Iterator[FakeRay]:
    """Another one, with another model."""
    with standing_in() as fake:
        fake.version = "model-2"
        yield fake


@contextmanager
def standing_in() -> Iterator[FakeRay]:
    """A stand-in for Ray Serve, on a port of its own."""
    fake = FakeRay()
    with on_a_port(fake, lifespan="off") as fake.port:
        yield fake


@contextmanager
def listening(settings: config.Settings, bundle_path: Path | None, redis_url: str) -> Iterator[str]:
    """A started edge on a port of its own; its URL."""
    app = create_app(settings, bundle_path, redis_url, "model-1")
    with on_a_port(app, lifespan="on") as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def on_a_port(app: ASGIApp, lifespan: Literal["on", "off"]) -> Iterator[int]:
    """Serve `app` from a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=Protocol, lifespan=lifespan, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings_for(ray_port: int, **edge: Any) -> config.Settings:
    """Settings of an edge in front of `ray_port`."""
    return config.Settings(edge=config.Edge(**edge), serving=config.Serving(port=ray_port))


@asynccontextmanager
async def serving(
    settings: config.Settings, bundle_path: Path | None, redis_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started edge."""
    app = create_app(settings, bundle_path, redis_url, "model-1")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            yield client


@pytest.fixture
async def client(ray: FakeRay, bundle_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An edge whose Redis and Ray answer."""
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        yield client


@pytest.fixture
async def alone(bundle_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An edge with neither Redis nor Ray; it knows the key that this client shows."""
    settings = settings_for(free_port(), api_key=API_KEY)
    async with serving(settings, bundle_path, f"redis://127.0.0.1:{free_port()}") as client:
        client.headers["Authorization"] = f"Bearer {API_KEY}"
        yield client


def item_ids(answer: httpx.Response) -> list[str]:
    """The items of a slate or list, best first."""
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def watch(redis_url: str, user_id: str, item_id: str, preference: float = 1.0) -> None:
    """What the ingest worker does with an event."""
    record = np.array([(key_of(item_id), int(time.time()), preference)], trail.RECORD)
    with Redis.from_url(redis_url) as redis:
        redis.append(trail.trail_key(user_id), trail.encode(record))
        redis.incr(trail.epoch_key(user_id))
