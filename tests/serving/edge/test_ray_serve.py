from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from tastemaker.config import MicroBatch
from tastemaker.errors import Unavailable
from tastemaker_serving import wire
from tastemaker_serving.edge.ray_serve import Recommender

from .conftest import FakeRay, free_port


@asynccontextmanager
async def recommender_on(port: int, timeout_s: float = 5) -> AsyncIterator[Recommender]:
    async with ClientSession() as client:
        recommender = Recommender(client, f"http://127.0.0.1:{port}", MicroBatch(), timeout_s)
        yield recommender
        await recommender.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def query(name: str = "a", n: int = 1, *, traced: bool = False) -> wire.Query:
    return wire.Query(name, "7", "home", None, n, traced=traced)


async def test_queries_of_one_moment_share_a_post(ray: FakeRay) -> None:
    async with recommender_on(ray.port) as recommender:
        answers = await asyncio.gather(*(recommender.ask(query(n=n)) for n in (1, 2, 3)))
    assert [len(answer.slate.item_ids) for answer in answers] == [1, 2, 3]
    assert (answers[0].model_version, answers[0].stage_ms) == ("model-1", {"rank": 1.5})
    assert [len(batch) for batch in ray.batches] == [3]


async def test_a_traced_query_travels_alone(ray: FakeRay) -> None:
    async with recommender_on(ray.port) as recommender:
        await asyncio.gather(*(recommender.ask(query(n=n, traced=n == 2)) for n in (1, 2, 3)))
    assert sorted(sorted(query.n for query in batch) for batch in ray.batches) == [[1, 3], [2]]


async def test_a_refusal_is_unavailable_and_three_stop_the_asking(ray: FakeRay) -> None:
    ray.healthy = False
    async with recommender_on(ray.port) as recommender:
        for _ in range(3):
            with pytest.raises(Unavailable, match="500"):
                await recommender.ask(query())
        with pytest.raises(Unavailable, match="lately"):
            await recommender.ask(query())
        assert len(ray.batches) == 3
        ray.healthy = True
        async with asyncio.timeout(5):
            while recommender.breaker.is_open:
                await asyncio.sleep(0.05)
        assert (await recommender.ask(query())).slate.item_ids == ["i59"]


async def test_too_few_slates_are_refused(ray: FakeRay) -> None:
    ray.lost = 1
    async with recommender_on(ray.port) as recommender:
        with pytest.raises(Unavailable, match="0 slates for 1 queries"):
            await recommender.ask(query())


async def test_a_hanging_post_ends_with_its_timeout(silent_port: int) -> None:
    async with recommender_on(silent_port, timeout_s=0.05) as recommender:
        with pytest.raises(Unavailable, match="Ray Serve does not answer"):
            await recommender.ask(query())


async def test_nobody_listening_is_unavailable() -> None:
    async with recommender_on(free_port()) as recommender:
        with pytest.raises(Unavailable, match="Ray Serve does not answer"):
            await recommender.ask(query())
