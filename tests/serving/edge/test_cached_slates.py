"""Slates from the cache: they keep to the rules of the moment, and what was shown is remembered of them, too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tastemaker import config, scenes
from tastemaker.exploration import SHOWN_KEY
from tastemaker.features import trail
from tastemaker.types import SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge.app import create_app
from tastemaker_serving.edge.cache import Entry, encode_entry, variant_of

from .conftest import SLATE, FakeRay, item_ids, listening, serving, settings_for, watch

RULES: Final[dict[str, Any]] = {
    "caps": {"category": 3},
    "rules": [
        {"name": "not here", "action": "ban", "categories": ["Adult"]},
        {"name": "campaign", "action": "pin", "position": 1, "items": ["i7"]},
        {"name": "for long slates", "action": "pin", "position": 4, "items": ["i8", "i9"]},
    ],
}


def ruled(ray: FakeRay, **fields: Any) -> config.Settings:
    return settings_for(ray.port).model_copy(update={"scenes": {"home": fields}})


def computed_ahead(
    redis_url: str, user_id: str, chosen: Sequence[str], rules: str = "", *, any_length: bool = False, **fields: Any
) -> None:
    """What the hourly job puts into the cache; of `any_length` in scenes that neither explore nor pin."""
    query = wire.Query("ahead", user_id, "home", None, len(chosen))
    items = tuple(SlateItem(item_id, 1.0, place, "two-tower", "For you") for place, item_id in enumerate(chosen))
    variant = variant_of("model-1", query, rules=rules, any_length=any_length)
    with Redis.from_url(redis_url) as redis:
        epoch: Any = redis.get(trail.epoch_key(user_id))
        entry = Entry(int(epoch or 0), time.time(), "model-1", None, items, life_s=3900, **fields)
        redis.set(trail.slate_key(user_id, variant), encode_entry(entry))


async def test_an_item_that_moves_into_a_banned_category_leaves_cached_slates(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    rules = [{"name": "not here", "action": "ban", "categories": ["Adult"]}]
    async with serving(ruled(ray, rules=rules), bundle_path, redis_url) as client:
        assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i58", "i57"]
        changed = {"item_id": "i58", "title": "Film 58", "categories": ["Adult"]}
        assert (await client.put("/v1/items", json=[changed])).status_code == 202
        asked = len(ray.batches)
        assert "i58" not in item_ids(await client.get(SLATE, params={"n": 3}))
        assert len(ray.batches) == asked + 1
        again = await client.get(SLATE, params={"n": 3})
        assert again.json()["served_from"] == "cache"
        assert "i58" not in item_ids(again)


async def test_caps_and_pins_hold_for_cached_slates_when_items_change(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    rules = [{"name": "campaign", "action": "pin", "position": 1, "items": ["i7"]}]
    async with serving(ruled(ray, caps={"category": 1}, rules=rules), bundle_path, redis_url) as client:
        assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i7", "i57"]
        changed = {"item_id": "i57", "title": "Film 57", "categories": ["Thriller"]}  # as that of i59
        assert (await client.put("/v1/items", json=[changed])).status_code == 202
        assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i7", "i0"]
        away = {"item_id": "i7", "title": "Film 7", "categories": ["Drama"], "available": False}
        assert (await client.put("/v1/items", json=[away])).status_code == 202
        assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i58", "i0"]
        assert (await client.put("/v1/items", json=[away | {"available": True}])).status_code == 202
        assert item_ids(await client.get(SLATE, params={"n": 3})) == ["i59", "i7", "i0"]


async def test_a_page_does_not_repeat_a_first_page_that_was_computed_ahead(
    client: httpx.AsyncClient, redis_url: str
) -> None:
    await client.get(SLATE, params={"n": 4})
    watch(redis_url, "7", "i0")
    computed_ahead(redis_url, "7", ["i40", "i59", "i41", "i56"], any_length=True)
    first = await client.get(SLATE, params={"n": 4})
    assert (first.json()["served_from"], item_ids(first)) == ("cache", ["i40", "i59", "i41", "i56"])
    second = await client.get(SLATE, params={"n": 4, "page": 1})
    assert item_ids(second) == ["i58", "i57", "i55", "i54"]


async def test_a_page_does_not_repeat_what_another_device_was_shown_again(client: httpx.AsyncClient) -> None:
    tv = {"n": "3", "device": "tv"}
    first = await client.get(SLATE, params=tv)
    await client.get(SLATE, params={"n": "3", "device": "mobile", "exclude": ",".join(item_ids(first))})
    again = await client.get(SLATE, params=tv)
    assert (again.json()["served_from"], item_ids(again)) == ("cache", item_ids(first))
    assert not {*item_ids(await client.get(SLATE, params=tv | {"page": "1"}))} & {*item_ids(first)}


async def test_a_cached_page_that_repeats_a_new_first_page_is_made_anew(client: httpx.AsyncClient) -> None:
    pages = [await client.get(SLATE, params={"n": 3, "page": page}) for page in (0, 1)]
    first = await client.get(SLATE, params={"n": 3, "force_refresh": "true", "exclude": ",".join(item_ids(pages[0]))})
    assert item_ids(first) == item_ids(pages[1])
    second = await client.get(SLATE, params={"n": 3, "page": 1})
    assert item_ids(second) == item_ids(pages[0])


async def test_what_was_computed_ahead_is_an_impression_once_it_is_shown(
    ray: FakeRay, bundle_path: Path, redis_url: str
) -> None:
    app = create_app(ruled(ray, explore={"share": 0.2}), bundle_path, redis_url, "model-1")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            chosen = ["i40", "i3"]
            computed_ahead(redis_url, "7", chosen, request_id="ahead-1", propensities={"i40": 1.0, "i3": 0.25})
            answers = [await client.get(SLATE, params={"n": 2}) for _ in range(3)]
            assert [answer.json()["served_from"] for answer in answers] == ["cache"] * 3
            assert [item_ids(answer) for answer in answers] == [chosen] * 3
            await app.state.edge.click_rates.flush()
            await app.state.edge.decisions.flush()
            with Redis.from_url(redis_url) as redis:
                assert redis.hgetall(SHOWN_KEY) == {b"i40": b"1", b"i3": b"1"}
            told = (await client.get(f"/v1/requests/{answers[1].json()['request_id']}")).json()
            assert told["origin"] == "ahead-1"
            assert [item["propensity"] for item in told["items"]] == [1.0, 0.25]
            ray.healthy = False
            watch(redis_url, "7", "i0")
            stale = await client.get(SLATE, params={"n": 2})
            assert (stale.json()["served_from"], stale.json()["degraded"]) == ("cache", ["ray"])
            await app.state.edge.decisions.flush()
            told = (await client.get(f"/v1/requests/{stale.json()['request_id']}")).json()
            assert (told["origin"], told["items"][1]["propensity"]) == ("ahead-1", 0.25)
            await app.state.edge.click_rates.flush()
            with Redis.from_url(redis_url) as redis:
                assert redis.hgetall(SHOWN_KEY) == {b"i40": b"1", b"i3": b"1"}


async def test_an_ordinary_hit_writes_nothing(client: httpx.AsyncClient, redis_url: str) -> None:
    await client.get(SLATE)
    with Redis.from_url(redis_url) as redis:

        def written() -> int:
            told: Any = redis.info("commandstats")
            return int(told["cmdstat_set"]["calls"])

        before = written()
        hits = [await client.get(SLATE) for _ in range(3)]
        assert [hit.json()["served_from"] for hit in hits] == ["cache"] * 3
        assert written() == before


ITEMS = st.integers(0, 59).map(lambda code: f"i{code}")
ACTIONS = st.one_of(
    st.tuples(
        st.just("ask"),
        st.integers(0, 2),
        st.sampled_from([3, 5]),
        st.sampled_from([None, "tv"]),
        st.sets(ITEMS, max_size=2),
    ),
    st.tuples(st.just("watch"), ITEMS),
    st.tuples(st.just("ahead"), st.lists(ITEMS, min_size=5, max_size=5, unique=True)),
    st.tuples(st.just("change"), ITEMS, st.sampled_from(["Adult", "Comedy", "Drama", None])),
)
USERS = count()


@given(st.lists(ACTIONS, min_size=3, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_no_slate_doubles_repeats_or_breaks_a_rule(
    visited: Visited, redis_url: str, actions: list[tuple[Any, ...]]
) -> None:
    user, shown = f"u{next(USERS)}", dict[int, set[str]]()
    for kind, *told in actions:
        match kind:
            case "watch":
                watch(redis_url, user, told[0])
            case "ahead":
                computed_ahead(redis_url, user, told[0], visited.stamp)
            case "change":
                visited.change(*told)
            case _:
                page, n, device, excluded = told
                slate, degraded = visited.slate(user, page, n, device, excluded)
                if degraded:
                    return  # what was shown may be forgotten
                visited.keeps_to_the_rules(slate, n, excluded, page)
                for before in range(page):
                    assert not set(slate) & shown.get(before, set()), "what an earlier page showed last"
                shown[page] = set(slate)


class Visited:
    """An edge whose catalogue changes, and what it must show no more."""

    def __init__(self, client: httpx.Client, scene: scenes.Scene) -> None:
        self._client = client
        self._category = {f"i{code}": ("Comedy", "Drama", "Thriller")[code % 3] for code in range(60)}
        self._gone = set[str]()
        self.stamp = scenes.stamp(scene.rules)

    def change(self, item_id: str, category: str | None) -> None:
        if category is None:
            answer = self._client.delete(f"/v1/items/{item_id}")
            self._gone.add(item_id)
        else:
            answer = self._client.put(
                "/v1/items", json=[{"item_id": item_id, "title": item_id, "categories": [category]}]
            )
            self._category[item_id] = category
            self._gone.discard(item_id)
        assert answer.status_code == 202, answer.text

    def slate(
        self, user: str, page: int, n: int, device: str | None, excluded: set[str]
    ) -> tuple[list[str], list[str]]:
        """What is shown, and what failed."""
        wanted: dict[str, str | int] = {"page": page, "n": n} | ({"device": device} if device else {})
        if excluded:
            wanted["exclude"] = ",".join(excluded)
        answer = self._client.get(f"/v1/users/{user}/recommendations", params=wanted)
        return item_ids(answer), answer.json()["degraded"]

    def keeps_to_the_rules(self, slate: list[str], n: int, excluded: set[str], page: int) -> None:
        """Nothing is doubled, gone, banned, excluded or above its cap; on the first page pins stand."""
        assert len(set(slate)) == len(slate) <= n
        assert not set(slate) & (self._gone | excluded)
        assert "Adult" not in {self._category[item_id] for item_id in slate}
        pins = [
            item_id
            for item_id in ("i7", "i8", "i9")
            if item_id not in self._gone | excluded and self._category[item_id] != "Adult"
        ]
        of_pins = Counter(self._category[item_id] for item_id in pins)
        taken = Counter(self._category[item_id] for item_id in slate)
        assert all(taken[category] <= max(3, of_pins[category]) for category in taken)
        if page == 0 and len(slate) == n:
            assert "i7" not in pins or slate[1] == "i7"
            later = [item_id for item_id in pins if item_id != "i7"]
            assert n < 5 or not later or slate[4] == later[0]


@pytest.fixture
def visited(ray: FakeRay, bundle_path: Path, redis_url: str) -> Iterator[Visited]:
    """An edge under RULES."""
    of_edge = ruled(ray, **RULES)
    with listening(of_edge, bundle_path, redis_url) as url, httpx.Client(base_url=url) as client:
        yield Visited(client, scenes.load(of_edge)["home"])
