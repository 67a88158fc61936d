from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tastemaker.errors import Unavailable
from tastemaker_serving import freshness
from tastemaker_serving.freshness import Seen, measure, result_of
from tastemaker_serving.traffic import Crowd, Place

from .conftest import served_by


class FakeEdge:
    """Keeps everyone's slate from its first answer; an event changes its user's 50 ms later."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self.kept: set[str] = set()
        self.keys: set[str | None] = set()
        self.accepts = True
        self.others = 0
        self._later: list[asyncio.Task[None]] = []

    async def slate(self, request: web.Request) -> web.Response:
        user = request.match_info["user"]
        self.others += user == "other"
        if user == "refused":
            return web.json_response({}, status=503)
        rung = "cache" if user in self.kept else "ranked"
        self.kept.add(user)
        items = [{"item_id": self.first.get(user, "old")}, {"item_id": "second"}]
        if user == "unranked":
            rung = "candidates"
        degraded = ["ranker", "source:als"] if user == "unranked" else []
        slate = {"request_id": "r", "items": items, "model_version": "m", "served_from": rung, "degraded": degraded}
        return web.json_response(slate)

    async def event(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization"))
        event = await request.json()
        assert event["item_id"] == "old"
        self._later.append(asyncio.create_task(self._apply(event["user_id"])))
        return web.json_response({}, status=202 if self.accepts else 503)

    async def _apply(self, user_id: str) -> None:
        await asyncio.sleep(0.05)
        self.first[user_id] = "new"
        self.kept.discard(user_id)


@pytest.fixture
async def edge() -> AsyncIterator[tuple[FakeEdge, str]]:
    fake = FakeEdge()
    async with served_by(fake) as url:
        yield fake, url


async def test_a_try_takes_until_the_rated_item_is_gone(edge: tuple[FakeEdge, str]) -> None:
    fake, url = edge
    told: list[int] = []

    result = await measure(Crowd(url, ["other"], {}, "key"), 50, ["ann", "bo b", "cy"], told.append)

    assert result.tries == 3
    assert 50 <= result.p50_ms <= result.p99_ms
    assert set(fake.first) == {"ann", "bo b", "cy"}
    assert fake.keys == {"Bearer key"}
    assert told == [1, 2, 3]
    assert fake.others > 0


async def test_a_try_that_never_sees_a_change_is_stale(
    edge: tuple[FakeEdge, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, url = edge
    monkeypatch.setattr(freshness, "LONGEST_S", 0.2)
    monkeypatch.setattr(freshness, "FRESH_MS", 100.0)
    fake.first["ann"] = "old"
    monkeypatch.setattr(fake, "_apply", lambda user_id: asyncio.sleep(0))

    result = await measure(Crowd(url, ["other"], {}, None), 10, ["ann"], lambda _: None)

    assert (result.stale, result.p99_ms) == (1, 200.0)


async def test_an_event_that_is_not_accepted_ends_the_benchmark(edge: tuple[FakeEdge, str]) -> None:
    fake, url = edge
    fake.accepts = False

    with pytest.raises(Unavailable, match="503"):
        await measure(Crowd(url, ["other"], {}, None), 10, ["ann"], lambda _: None)


@pytest.mark.parametrize(
    ("user", "why"),
    [("unranked", "the last one came from candidates, without ranker, source:als"), ("refused", "none came at all")],
)
async def test_a_slate_that_is_never_kept_says_what_it_lacked(
    edge: tuple[FakeEdge, str], monkeypatch: pytest.MonkeyPatch, user: str, why: str
) -> None:
    monkeypatch.setattr(freshness, "LONGEST_S", 0.1)
    with pytest.raises(Unavailable, match=f"no slate of {user} was kept in the cache within 0.1 s: {why}"):
        await measure(Crowd(edge[1], ["other"], {}, None), 10, [user], lambda _: None)


async def test_a_crowd_that_is_not_served_is_no_load(edge: tuple[FakeEdge, str]) -> None:
    with pytest.raises(Unavailable, match="that others asked for"):
        await measure(Crowd(edge[1], ["refused"], {}, None), 50, ["ann"], lambda _: None)


def test_only_slates_that_know_the_event_count_as_changed() -> None:
    new = [Place("new")]

    assert Seen(new, "ranked", []).lacks("old")
    assert Seen(new, "ranked", ["trending-source"]).lacks("old")
    assert not Seen([Place("old")], "ranked", []).lacks("old")
    assert not Seen(new, "trending", ["ray"]).lacks("old")  # it may be missing by chance
    assert not Seen(new, "ranked", ["cache"]).lacks("old")
    assert not Seen([], "ranked", []).lacks("old")


def test_percentiles_and_what_took_longer_than_a_second() -> None:
    result = result_of([100.0] * 98 + [1000.1, 10_000.0])

    assert (result.tries, result.stale, result.p50_ms) == (100, 2, 100.0)
