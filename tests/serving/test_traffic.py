from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest
from aiohttp import web

from tastemaker import columns
from tastemaker_serving.traffic import Crowd, appeal_of

from .conftest import served_by


class FakeEdge:
    """Shows the same two items to everyone; `broken` answers 500."""

    def __init__(self) -> None:
        self.broken = False
        self.asked: Counter[str] = Counter()
        self.clicks: list[dict[str, object]] = []
        self.keys: set[str | None] = set()

    async def slate(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({"error": "broken"}, status=500)
        self.asked[request.match_info["user"]] += 1
        items = [{"item_id": "loved"}, {"item_id": "unknown"}]
        slate = {"request_id": "r", "items": items, "model_version": "tastemaker/3", "served_from": "ranked"}
        return web.json_response(slate)

    async def event(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization"))
        self.clicks.append(await request.json())
        return web.json_response({}, status=202)


@pytest.fixture
async def edge() -> AsyncIterator[tuple[FakeEdge, str]]:
    fake = FakeEdge()
    async with served_by(fake) as url:
        yield fake, url


def test_appeal_is_the_share_of_items_that_fewer_users_took_to() -> None:
    events = pa.table(
        {columns.ITEM_ID: ["a", "b", "b", "b", "c", "c"], columns.USER_ID: ["1", "1", "2", "3", "1", "2"]}
    )
    appeal = appeal_of(events)
    assert appeal["b"] == 1
    assert appeal["b"] > appeal["c"] > appeal["a"] > 0


async def test_viewers_ask_at_their_rate_and_click_on_what_the_crowd_likes(edge: tuple[FakeEdge, str]) -> None:
    fake, url = edge
    told: list[int] = []
    crowd = Crowd(url, ["ann", "bo b"], {"loved": 1.0}, "key")
    tally = await crowd.live(200, 1.5, lambda tally: told.append(tally.requests))
    assert 250 <= tally.requests <= 301
    assert tally.failed == 0
    assert set(fake.asked) == {"ann", "bo b"}
    assert {click["item_id"] for click in fake.clicks} == {"loved"}
    assert {click["request_id"] for click in fake.clicks} == {"r"}
    assert fake.keys == {"Bearer key"}
    assert tally.summary()["slates"] == {"tastemaker/3 ranked": tally.requests}
    assert told


async def test_what_is_not_a_slate_is_a_failure_in_words(edge: tuple[FakeEdge, str]) -> None:
    fake, url = edge
    fake.broken = True
    tally = await Crowd(url, ["ann"], {}, None).live(20, 0.3, lambda _: None)
    assert tally.failed == tally.requests > 0
    assert "500" in tally.summary()["failures"][0]
