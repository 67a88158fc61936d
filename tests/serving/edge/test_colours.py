from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tastemaker.rollout import meter, routing
from tastemaker.rollout.routing import Routing, Target
from tastemaker_serving import wire
from tastemaker_serving.edge.app import create_app

from .conftest import FakeRay, free_port, serving, settings_for

USERS = [f"u{number}" for number in range(40)]


def target(ray: FakeRay, colour: str) -> Target:
    return Target(colour, f"http://127.0.0.1:{ray.port}", ray.version)


def announce(redis_url: str, document: Routing) -> None:
    with Redis.from_url(redis_url) as redis:
        routing.write(redis, document)


async def slates(client: httpx.AsyncClient) -> dict[str, str]:
    """The model that answered each user."""
    answers = [await client.get(f"/v1/users/{user}/recommendations") for user in USERS]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.json()["user_id"]: answer.json()["model_version"] for answer in answers}


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.02)


async def test_users_go_where_the_routing_says_and_a_rollback_takes_less_than_two_seconds(
    client: httpx.AsyncClient, ray: FakeRay, newcomer: FakeRay, redis_url: str
) -> None:
    half = Routing(target(ray, "blue"), target(newcomer, "green"), weight=50, salt="s")
    announce(redis_url, half)
    async with asyncio.timeout(2):
        while set((await slates(client)).values()) == {"model-1"}:
            await asyncio.sleep(0.05)
    assert await slates(client) == {user: routing.target_of(half, user).version for user in USERS}, (
        "sticky by user, cached or not"
    )
    announce(redis_url, Routing(target(ray, "blue")))
    async with asyncio.timeout(2):
        while set((await slates(client)).values()) != {"model-1"}:
            await asyncio.sleep(0.05)


def read(redis_url: str, period: str, colour: str) -> meter.Measured:
    with Redis.from_url(redis_url) as redis:
        return meter.read(redis, period, colour)


async def test_the_stable_colour_stands_in_for_a_newcomer_that_fails(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    newcomer.healthy = False
    announce(redis_url, Routing(target(ray, "blue"), target(newcomer, "green"), weight=100, period="trial.0"))
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await eventually_served(client, newcomer)
        answer = (await client.get("/v1/users/7/recommendations")).json()
        assert (answer["served_from"], answer["model_version"], answer["degraded"]) == ("ranked", "model-1", [])
        await eventually(lambda: read(redis_url, "trial.0", "green").errors > 0)


async def eventually_served(client: httpx.AsyncClient, ray: FakeRay) -> None:
    """Wait until requests reach `ray`: the edge has read the routing."""
    async with asyncio.timeout(5):
        while not ray.batches:
            await client.get("/v1/users/first/recommendations?force_refresh=true")
            await asyncio.sleep(0.02)


async def test_a_rollout_is_measured_by_colour_user_and_click(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    half = Routing(target(ray, "blue"), target(newcomer, "green"), weight=50, salt="s", period="trial.1")
    announce(redis_url, half)
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await eventually_routed(client, "model-2")
        await slates(client)
        for user in USERS:
            click = {"user_id": user, "item_id": "i59", "event_type": "click", "request_id": "r", "scene": "home"}
            assert (await client.post("/v1/events", json=click)).status_code == 202
        newcomers = {user for user in USERS if routing.target_of(half, user).colour == "green"}
        await eventually(lambda: read(redis_url, "trial.1", "green").clicks.sum() == len(newcomers))
        green, blue = read(redis_url, "trial.1", "green"), read(redis_url, "trial.1", "blue")
        assert newcomers <= set(USERS)
        assert green.users + blue.users >= len(USERS)
        assert green.impressions.sum() >= len(newcomers)
        assert blue.clicks.sum() == len(USERS) - len(newcomers)
        assert green.requests == green.latency.sum()
        assert (green.errors, green.items) == (0, 20)


async def eventually_routed(client: httpx.AsyncClient, version: str) -> None:
    """Wait until some user is answered by `version`."""
    async with asyncio.timeout(5):
        while version not in (await slates(client)).values():
            await asyncio.sleep(0.02)


async def test_shadow_copies_are_measured_and_never_seen(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    announce(redis_url, Routing(target(ray, "blue"), target(newcomer, "green"), shadow=100, period="trial.shadow"))
    async with serving(settings_for(ray.port), bundle_path, redis_url) as client:
        await eventually_served(client, newcomer)
        assert set((await slates(client)).values()) == {"model-1"}
        await eventually(lambda: read(redis_url, "trial.shadow", "green").requests >= len(USERS))
        with Redis.from_url(redis_url) as redis:
            assert meter.recent_bodies(redis), "what the next colour is warmed with"


async def test_an_edge_without_redis_starts_with_the_copy_of_the_routing(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "routing.json"
    copy.write_bytes(routing.encode(Routing(target(newcomer, "green"))))
    settings = settings_for(ray.port, routing_file=copy)
    async with serving(settings, None, f"redis://127.0.0.1:{free_port()}") as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503, "its catalogue is still to be fetched"
        assert "no model" in ready.json()["error"]
        assert (await client.get("/healthz")).status_code == 200


async def test_a_routing_that_cannot_be_read_changes_nothing(
    client: httpx.AsyncClient, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.set(routing.KEY, b"{}")
    await eventually(lambda: "cannot be read" in caplog.text)
    assert set((await slates(client)).values()) == {"model-1"}


async def test_a_promotion_while_the_newcomer_fails_costs_no_slate(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    newcomer.healthy = False
    blue, green = target(ray, "blue"), target(newcomer, "green")
    app = create_app(settings_for(ray.port), bundle_path, redis_url, "model-1")
    async with app.router.lifespan_context(app):
        colours = app.state.edge.colours
        colours.follow(Routing(blue, green, weight=100, shadow=100))
        query = wire.Query("r", "7", "home", None, 5)
        deadline = asyncio.get_running_loop().time() + 5
        asked = asyncio.create_task(colours.ask(query, deadline))
        await asyncio.sleep(0)
        colours.follow(Routing(green))
        assert (await asked).model_version == "model-1", "the one that was stable when it was asked"


async def test_a_shadow_copy_outlives_the_end_of_its_colour(
    ray: FakeRay, newcomer: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    app = create_app(settings_for(ray.port), bundle_path, redis_url, "model-1")
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with app.router.lifespan_context(app):
        colours = app.state.edge.colours
        colours.follow(Routing(target(ray, "blue"), target(newcomer, "green"), shadow=100))
        deadline = asyncio.get_running_loop().time() + 5
        asked = asyncio.create_task(colours.ask(wire.Query("r", "7", "home", None, 5), deadline))
        asyncio.get_running_loop().call_soon(colours.follow, Routing(target(ray, "blue")))
        await asked
        await eventually(lambda: bool(newcomer.batches))
    gc.collect()
    assert not failed
