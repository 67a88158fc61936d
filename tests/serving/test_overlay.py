"""The three roles over a real Redis, without Ray: what goes over a hop goes through as it is."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pytest
from redis.asyncio import Redis

from tastemaker import config
from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates, Codes
from tastemaker.catalogue import log
from tastemaker.changes.tables import at_version
from tastemaker.errors import Unavailable
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import keys_of
from tastemaker.retrieval import Wanted
from tastemaker.types import Item
from tastemaker_serving import wire
from tastemaker_serving.overlay import Overlay, Parcel, Roster, Update
from tastemaker_serving.pipeline import ToRank

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    from tastemaker_serving.deployments import CandidateGenerator, Ranker, Recommender

LIKED = "item-7"
WHOLE = 400
"""More than the bundle has: a slate so long holds every item that may be shown."""


class Handle:
    """Of a deployment in this process."""

    def __init__(self, role: Any) -> None:
        self.role = role
        self.ping = self

    def remote(self, *arguments: Any) -> Awaitable[Any]:
        answer: Awaitable[Any] = self.role(*arguments)
        return answer


class Stack:
    """The roles, with what they know of the catalogue."""

    def __init__(self, path: Path, home: Path, redis_url: str) -> None:
        patient = config.Deployment(timeout_ms=60_000)
        settings = config.Settings(
            home=home,
            scenes={"digest": {"rules": [{"name": "editors", "action": "pin", "items": ["item-100"]}]}},
            serving=config.Serving(
                deployments=config.Deployments(recommender=patient, candidate_generator=patient, ranker=patient),
                sources=config.Sources(budgets_ms={}, budget_ms=60_000),
                funnel=config.Funnel(ranked=WHOLE),
            ),
        )
        self.generator = CandidateGenerator(path, settings, redis_url)
        self.ranker = Ranker(path, settings.serving.funnel, 1, redis_url)
        handles: list[Any] = [Handle(self.generator), Handle(self.ranker)]
        self.recommender = Recommender(path, "tastemaker/1", redis_url, settings, *handles)

    @property
    def overlays(self) -> tuple[Overlay, Overlay, Overlay]:
        return self.generator._overlay, self.ranker._overlay, self.recommender._overlay

    async def slate(self, n: int = WHOLE, history: tuple[str, ...] = (LIKED,), **query: Any) -> list[str]:
        asked = wire.Query("r", "u", "home", None, n, history=list(history), **query)
        (slate,) = (await self.recommender.recommend([asked])).slates
        assert slate.served_from == "ranked", slate.degraded
        return slate.item_ids

    async def until(self, what: Callable[[list[str]], bool]) -> float:
        """Seconds until a slate is so."""
        started = time.monotonic()
        async with asyncio.timeout(30):
            while not what(await self.slate()):
                await asyncio.sleep(0.05)
        return time.monotonic() - started


class NoFeatures:
    """A feature store that knows nobody."""

    def __init__(self, *_: Any) -> None:
        pass

    def online_users(self, user_ids: Sequence[str]) -> Any:
        raise Unavailable("the feature store knows nobody")


@pytest.fixture
async def start(
    model_bundle: Bundle, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], Stack]]:
    """Starts the roles; they stop with the test."""
    monkeypatch.setitem(sys.modules, "tastemaker.features.store", SimpleNamespace(Features=NoFeatures))
    stacks: list[Stack] = []

    def start(path: Path = model_bundle.path) -> Stack:
        stacks.append(Stack(path, tmp_path, redis_url))
        return stacks[-1]

    yield start
    for stack in stacks:
        for role in (stack.generator, stack.ranker, stack.recommender):
            role.close()
        await stack.recommender._reader.redis.aclose()


@pytest.fixture
def stack(start: Callable[[], Stack]) -> Stack:
    return start()


async def publish(redis_url: str, **items: Item | None) -> int:
    async with Redis.from_url(redis_url) as redis:
        return await log.items.publish(redis, items)


def copy_of(bundle: Bundle, item_id: str, new_id: str, **changes: Any) -> Item:
    """A new item with the words of a known one."""
    items = bundle.items()
    row = items.slice(items["item_id"].to_pylist().index(item_id), 1).to_pylist()[0]
    return Item(new_id, row["title"], tuple(row["categories"] or ()), text=row["text"] or "", **changes)


async def test_a_new_item_is_in_a_slate_within_seconds_and_a_removed_one_gone(
    stack: Stack, model_bundle: Bundle, redis_url: str
) -> None:
    before = await stack.slate()
    await publish(redis_url, new=copy_of(model_bundle, before[0], "new"))
    assert await stack.until(lambda slate: "new" in slate) < 20
    assert len(set(await stack.slate())) == len(await stack.slate()) == 300

    # What the user has seen or refuses is left out, new as it is; as history it is understood.
    assert "new" not in await stack.slate(history=(LIKED, "new"))
    assert "new" not in await stack.slate(exclude=["new"])

    await publish(redis_url, new=None, **{before[0]: None})
    await stack.until(lambda slate: not {"new", before[0]} & set(slate))

    await publish(redis_url, **{before[0]: copy_of(model_bundle, before[0], before[0])})
    await stack.until(lambda slate: before[0] in slate)


async def test_an_item_that_went_leaves_a_drop(stack: Stack, redis_url: str) -> None:
    """Lists of a bundle still propose it: what is popular, what is near."""
    went = (await stack.slate())[:100]
    await publish(redis_url, **dict.fromkeys(went))
    await stack.until(lambda slate: not set(went) & set(slate))
    query = wire.Query("r", "u", "home", None, 10, history=[LIKED], traced=True)
    (slate,) = (await stack.recommender.recommend([query])).slates
    assert slate.trace is not None
    dropped = {drop.stage: set(drop.item_ids) for drop in slate.trace.dropped}
    assert dropped["unavailable"]
    assert dropped["unavailable"] <= set(went)


async def test_in_a_scene_with_a_life_only_what_is_new_comes_from_sources_that_know_no_better(
    stack: Stack, model_bundle: Bundle, redis_url: str
) -> None:
    async def news() -> list[str]:
        asked = wire.Query("r", "u", "news", None, WHOLE, history=[LIKED])
        return (await stack.recommender.recommend([asked])).slates[0].item_ids

    assert await news() == []  # all of the bundle's items are years old
    now = datetime.now(UTC)
    await publish(
        redis_url,
        new=copy_of(model_bundle, LIKED, "new", published_at=now - timedelta(hours=1)),
        old=copy_of(model_bundle, LIKED, "old", published_at=now - timedelta(hours=25)),
    )
    await stack.until(lambda slate: {"new", "old"} <= set(slate))
    assert await news() == ["new"]


async def test_a_pinned_item_that_is_removed_leaves_its_place_to_others(stack: Stack, redis_url: str) -> None:
    async def digest() -> list[str]:
        query = wire.Query("r", "u", "digest", None, 5)
        return (await stack.recommender.recommend([query])).slates[0].item_ids

    assert (await digest())[0] == "item-100"
    await publish(redis_url, **{"item-100": None})
    async with asyncio.timeout(30):
        while "item-100" in (slate := await digest()):
            await asyncio.sleep(0.05)
    assert len(slate) == 5


async def test_a_changed_title_is_in_reasons(stack: Stack, model_bundle: Bundle, redis_url: str) -> None:
    await publish(redis_url, **{LIKED: Item(LIKED, "Another title")})

    async def reasons() -> set[str]:
        query = wire.Query("r", "u", "home", None, WHOLE, history=[LIKED])
        return set((await stack.recommender.recommend([query])).slates[0].reasons)

    async with asyncio.timeout(30):
        while "Because you liked Another title" not in await reasons():
            await asyncio.sleep(0.05)


async def test_replicas_that_know_different_items_never_take_one_for_another(
    stack: Stack, model_bundle: Bundle, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (best, second, *_) = await stack.slate()
    generator, ranker, recommender = stack.overlays
    monkeypatch.setattr(Overlay, "_try_to_refresh", lambda overlay: None)
    await asyncio.sleep(1.0)  # nobody is in the middle of a look any more
    await publish(redis_url, first=copy_of(model_bundle, best, "first"))
    generator.refresh()
    # The Recommender does not know what the generator proposes.
    assert "first" not in await stack.slate()
    await publish(redis_url, other=copy_of(model_bundle, second, "other"))
    recommender.refresh()
    assert await stack.slate() != []
    # It numbers both; the Ranker knows neither, the generator one.
    assert not {"first", "other"} & set(await stack.slate())
    await publish(redis_url, third=copy_of(model_bundle, best, "third"), first=None)
    ranker.refresh()  # it never had `first`: its first new code is another one
    generator.refresh()
    slate = await stack.slate()
    assert "other" in slate
    assert not {"first", "third"} & set(slate)
    recommender.refresh()
    assert {"other", "third"} <= set(await stack.slate())


async def test_a_change_during_a_batch_is_the_next_ones(
    stack: Stack, model_bundle: Bundle, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = (await stack.slate())[0]
    monkeypatch.setattr(Overlay, "_try_to_refresh", lambda overlay: None)
    await asyncio.sleep(1.0)  # nobody is in the middle of a look any more
    new = {f"new-{number}": copy_of(model_bundle, best, f"new-{number}") for number in range(20)}
    await publish(redis_url, **new)
    generator, ranker, recommender = stack.overlays
    generator.refresh()
    ranker.refresh()

    class Meanwhile(Handle):
        def remote(self, *arguments: Any) -> Awaitable[Any]:
            return self.answered(super().remote(*arguments))

        async def answered(self, answer: Awaitable[Any]) -> Any:
            found = await answer
            recommender.refresh()
            return found

    monkeypatch.setattr(stack.recommender, "_generator", Meanwhile(stack.generator))
    assert not new.keys() & set(await stack.slate())
    assert new.keys() <= set(await stack.slate())


async def test_the_catalogue_changes_although_the_files_of_the_bundle_are_gone(
    start: Callable[..., Stack], model_bundle: Bundle, tmp_path: Path, redis_url: str
) -> None:
    cleared = shutil.copytree(model_bundle.path, tmp_path / "bundle")
    stack = start(cleared)
    shutil.rmtree(cleared)
    before = await stack.slate()
    await publish(redis_url, new=copy_of(model_bundle, before[0], "new"))
    await publish(redis_url, **{before[1]: None})
    await stack.until(lambda slate: "new" in slate and before[1] not in slate)


async def test_following_goes_on_past_changes_that_cannot_be_read(
    start: Callable[..., Stack], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tastemaker.changes.log.PAGE", 2)
    before = await start().slate()
    await publish(redis_url, a=None, b=None, **{before[0]: None})
    async with Redis.from_url(redis_url) as redis:
        await redis.hset(log.items.documents_key, mapping=dict.fromkeys("ab", "{"))  # type: ignore[misc]
    await start().until(lambda slate: before[0] not in slate)


async def test_following_goes_on_after_what_nobody_foresaw(
    stack: Stack, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = await stack.slate()
    broken = threading.Event()

    def breaks(update: Update) -> None:
        broken.set()
        raise KeyError("nobody thought of this")

    overlay = stack.generator._overlay
    with monkeypatch.context() as patch:
        patch.setattr(overlay, "_adopt", breaks)
        await publish(redis_url, **{before[0]: None})
        assert await asyncio.to_thread(broken.wait, 20)
    await stack.until(lambda slate: before[0] not in slate)
    assert "nobody thought of this" in caplog.text


async def test_what_an_item_is_about_changes_with_its_words(stack: Stack, redis_url: str) -> None:
    words = "harpsichord concertos of forgotten courts"

    async def likeness() -> dict[str, float]:
        query = wire.Query("r", "u", "home", None, 10, history=[LIKED], traced=True)
        (slate,) = (await stack.recommender.recommend([query])).slates
        assert slate.trace is not None
        signals = np.frombuffer(slate.trace.signals, dtype=np.float32).reshape(len(slate.trace.signal_names), -1)
        return dict(zip(slate.trace.candidates, signals[slate.trace.signal_names.index("content")], strict=True))

    before = await likeness()
    assert before["item-200"] < max(before.values())
    await publish(redis_url, **{LIKED: Item(LIKED, "Courts", text=words), "item-200": Item("item-200", words)})
    async with asyncio.timeout(30):
        while (await likeness()).get("item-200", 0.0) < 0.9:
            await asyncio.sleep(0.05)


async def test_one_that_starts_later_knows_it_too_unless_the_bundle_does(
    start: Callable[[], Stack], model_bundle: Bundle, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = (await start().slate())[0]
    version = await publish(redis_url, new=copy_of(model_bundle, best, "new"), **{best: None})
    later = start()
    slate = await later.slate()
    assert ("new" in slate, best in slate) == (True, False)

    items = at_version(model_bundle.items(), version)
    monkeypatch.setattr(Bundle, "items", lambda bundle: items)
    superseding = start()
    slate = await superseding.slate()
    assert ("new" in slate, best in slate) == (False, True)


async def test_a_lone_query_finds_new_items_by_the_index_too(stack: Stack, redis_url: str) -> None:
    gone = {f"item-{code}": None for code in range(0, 300, 3)}
    await publish(redis_url, **gone)
    for overlay in stack.overlays:
        overlay.refresh()
    slate = await stack.slate()
    assert len(slate) == 199
    assert not gone.keys() & set(slate)
    batch = await stack.recommender.recommend([wire.Query("r", f"u{row}", "home", None, 50) for row in range(8)])
    assert all(len(slate.item_ids) == 50 and not gone.keys() & set(slate.item_ids) for slate in batch.slates)


def test_every_code_of_a_message_is_translated() -> None:
    """A field that is added must be thought of in `overlay.recoded`."""
    code_fields = {each.name for each in fields(Wanted) if get_type_hints(Wanted)[each.name] == Codes}
    assert code_fields <= {"history", "seen", "excluded", "segment", "session", "scene"}
    of_candidates = {"codes", "source", "signals", "dropped", "silent", "explored", "live"}
    assert {each.name for each in fields(Candidates)} <= of_candidates
    assert {each.name for each in fields(ToRank)} == {"user_vectors", "profiles", "candidates", "traced"}


def test_codes_travel_with_keys() -> None:
    mine = Roster(3, KeyIndex.of(["a", "b", "c", "x", "y"]), keys_of(["x", "y"]))
    theirs = Roster(3, KeyIndex.of(["a", "b", "c", "y", "z"]), keys_of(["y", "z"]))
    codes = np.array([[0, 2, -1, 3, 4, 9]], dtype=np.int32)
    assert theirs.recode(codes, mine.strangers).tolist() == [[0, 2, -1, -1, 3, -1]]
    nobody = Roster(3, KeyIndex.of(["a", "b", "c"]))
    candidates = Candidates(codes, np.zeros((1, 6), np.uint8), np.zeros((5, 1, 6), np.float32))
    assert Parcel.of(candidates, nobody).unpacked(theirs).codes.tolist() == [[0, 2, -1, -1, -1, -1]]
    assert Parcel.of(candidates, mine).unpacked(nobody).codes.tolist() == [[0, 2, -1, -1, -1, -1]]
