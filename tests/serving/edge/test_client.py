"""`tastemaker.client` against the real edge."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tastemaker import keys
from tastemaker.client import AsyncClient, Client, EventForm, Item, calls
from tastemaker.client.calls import Call
from tastemaker.client.clients import Later, Now
from tastemaker.config import Settings
from tastemaker.errors import Forbidden, InvalidInput, NotFound, TooManyRequests, Unauthorized, Unavailable
from tastemaker.events.stream import shard_of, stream_key
from tastemaker.features.trail import trail_key

from .conftest import FakeRay, free_port, listening, settings_for

KEY = "secret"
EVENT = EventForm(user_id="7", item_id="i59", event_type="like")
CALLS = {name: call for name, call in vars(Client).items() if isinstance(call, Now)}


@pytest.fixture
def url(ray: FakeRay, bundle_path: Path, redis_url: str) -> Iterator[str]:
    with listening(settings_for(ray.port, api_key=KEY), bundle_path, redis_url) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, KEY) as client:
        yield client


def test_reads_are_answered_with_dataclasses(client: Client) -> None:
    slate = client.recommend("7", n=3, device="tv", exclude=["i59", "i58"], force_refresh=True)
    assert [item.item_id for item in slate.items] == ["i57", "i56", "i55"]
    assert (slate.user_id, slate.scene, slate.served_from, slate.explanation) == ("7", "home", "ranked", None)
    assert [item.position for item in client.similar("i0", n=2).items] == [0, 1]
    assert len(client.continue_session(["i0", "i3"], n=5).items) == 5
    assert len(client.trending(n=4, category="Drama", window="24h", country="DE").items) == 4
    assert client.search("film 12", n=1).items[0].item_id == "i12"
    assert client.readiness().items == 60


def test_a_comma_in_an_excluded_id_is_a_part_of_it(client: Client, ray: FakeRay) -> None:
    for excluded in (["a,b"], ["a,b", "i1"], ["i1"]):
        client.recommend("7", exclude=excluded)
        assert ray.batches[-1][0].exclude == excluded


def test_pages_go_on(client: Client) -> None:
    first, second = (client.recommend("7", n=3, page=page) for page in (0, 1))
    assert [item.item_id for item in (*first.items, *second.items)] == [f"i{code}" for code in range(59, 53, -1)]


@pytest.mark.parametrize("odd", ["https://x.de/a", "org/ann", "a%2Fb", "}x", "clicks"])
def test_what_the_api_takes_in_it_also_gives_back(client: Client, odd: str) -> None:
    client.put_items([Item(odd, "An odd one", ("Drama",))])
    assert client.similar(odd, n=1).items
    assert client.remove_item(odd).item_ids == [odd]
    client.put_profile(odd, country="DE")
    assert client.recommend(odd).user_id == odd
    assert client.erase_user(odd).keys > 0


def test_a_slate_can_be_explained(client: Client) -> None:
    slate = client.recommend("7", n=2, explain=True)
    assert slate.explanation is not None
    assert [fate.item_id for fate in slate.explanation.items] == [item.item_id for item in slate.items]


def test_events_get_an_id_where_they_have_none(client: Client, redis_url: str) -> None:
    accepted = client.send([EVENT, EventForm(user_id="7", item_id="i1", event_type="view", event_id="mine")])
    assert accepted.event_ids[1] == "mine"
    shards = Settings().ingest.shards
    with Redis.from_url(redis_url) as redis:
        assert redis.get(f"{stream_key(shard_of('7', shards))}:published") == b"2"


def test_users_are_told_of_and_forgotten(client: Client, redis_url: str) -> None:
    assert client.put_profile("7", country="DE", created_at=datetime(2026, 1, 1, tzinfo=UTC)).user_id == "7"
    assert client.put_preferences("7", categories=["Drama"], items=["i1"]).user_id == "7"
    assert client.erase_user("7").keys == 2
    with Redis.from_url(redis_url) as redis:
        assert not redis.exists(trail_key("7"))


def test_the_catalogue_changes(client: Client) -> None:
    new = Item("new", "A New Film", categories=("Drama",), published_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert client.put_items([new]).item_ids == ["new"]
    assert client.search("new film").items[0].item_id == "new"
    assert client.remove_item("new").item_ids == ["new"]


def test_refusals_are_the_errors_that_the_api_names(client: Client, url: str) -> None:
    with pytest.raises(InvalidInput, match="'n'") as refused:
        client.recommend("7", n=0)
    assert refused.value.remedy
    with pytest.raises(NotFound, match="nothing"):
        client.similar("nothing")
    with Client(url) as stranger, pytest.raises(Unauthorized):
        stranger.send([EVENT])


def test_a_key_without_the_scope_is_forbidden(ray: FakeRay, bundle_path: Path, redis_url: str) -> None:
    secret, key = keys.make(["read"], datetime.now(UTC), rate_limit=1)
    with Redis.from_url(redis_url) as redis:
        keys.add(redis, key)
    with (
        listening(settings_for(ray.port), bundle_path, redis_url) as url,
        Client(url, secret, attempts=1) as reader,
    ):
        with pytest.raises(Forbidden, match=key.key_id):
            reader.send([EVENT])
        reader.recommend("7")
        with pytest.raises(TooManyRequests) as limited:
            reader.recommend("7")
        assert limited.value.retry_after_s == 1


async def test_the_same_calls_for_asyncio(url: str) -> None:
    async with AsyncClient(url, KEY) as client:
        slates = await asyncio.gather(*(client.recommend(str(user), n=2) for user in range(20)))
        assert [slate.user_id for slate in slates] == [str(user) for user in range(20)]
        assert (await client.send([EVENT])).event_ids
        with pytest.raises(NotFound):
            await client.similar("nothing")


def test_what_may_succeed_later_is_tried_again() -> None:
    tries: list[str] = []

    def edge(request: httpx.Request) -> httpx.Response:
        tries.append(request.content.decode())
        if len(tries) == 1:
            raise httpx.ConnectError("refused")
        if len(tries) == 2:
            return httpx.Response(503, headers={"Retry-After": "0"}, json={"error": "away", "remedy": "wait"})
        return httpx.Response(202, json={"event_ids": ["x"]})

    with Client("http://edge", transport=httpx.MockTransport(edge)) as client:
        assert client.send([EVENT]).event_ids == ["x"]
    assert len(tries) == 3
    assert len(set(tries)) == 1  # one event_id


def test_without_an_edge_it_is_unavailable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", attempts=1) as client, pytest.raises(Unavailable, match="See that"):
        client.readiness()


def test_what_is_no_edge_is_named() -> None:
    proxy = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>"))
    with Client("http://edge", transport=proxy) as client, pytest.raises(Exception, match="edge answered 502"):
        client.readiness()


def test_both_clients_have_every_call_of_the_api(url: str) -> None:
    assert {name for name, call in vars(AsyncClient).items() if isinstance(call, Later)} == CALLS.keys()
    document = httpx.get(f"{url}/openapi.json").json()["paths"]
    offered = {(method.upper(), path) for path, methods in document.items() for method in methods}
    path_of = {re.sub(r"\{\w+\}", "X", path): path for _, path in offered}
    made = [_example(getattr(calls, name)) for name in CALLS]
    assert {(call.method, path_of[call.path]) for call in made} == offered - {("GET", "/healthz"), ("GET", "/metrics")}


def _example(build: Callable[..., Call[Any]]) -> Call[Any]:
    """The call with nothing but what it cannot do without."""
    some = {"events": [EVENT], "items": [], "item_ids": ["X"]}
    needed = [name for name, it in inspect.signature(build).parameters.items() if it.default is it.empty]
    return build(*(some.get(name, "X") for name in needed))
