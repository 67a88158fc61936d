"""One request for recommendations: cache, then models, then down the ladder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from msgspec import structs

from tastemaker.decisions.record import Decision
from tastemaker.decisions.sampling import Detail
from tastemaker.features import trail as trails
from tastemaker.features.trail import Trail
from tastemaker.metrics import SLATES
from tastemaker.rollout.routing import Target
from tastemaker.types import ServedFrom, Slate, SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge import ladder, recent
from tastemaker_serving.edge.cache import Entry
from tastemaker_serving.edge.decisions import decision_of
from tastemaker_serving.edge.introduction import Introduced, introduced
from tastemaker_serving.edge.ladder import Rung
from tastemaker_serving.edge.place import Place, look_up, place_of
from tastemaker_serving.edge.ray_serve import Answer
from tastemaker_serving.edge.recent import Asked, Shown, on_page, with_new
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.standing import Standing
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch

MODELS_PART = 0.9
"""Of a request's time that the models get: the rungs below them need some, too."""
WRITE_S = 0.02
"""What a slate that comes late waits at most for what is to be remembered of it."""
NO_TRAIL: Trail = np.empty(0, trails.RECORD)
NO_CHANCE: Mapping[str, float] = MappingProxyType({})


class Composed(NamedTuple):
    """The chosen items and where they came from."""

    served_from: ServedFrom
    items: tuple[SlateItem, ...]
    model_version: str
    answer: Answer | None = None
    """Of the models, where they were asked and answered."""
    origin: str = ""
    """Of a slate from the cache, the request that computed it."""
    propensities: Mapping[str, float] = NO_CHANCE
    """By item, where chance had a part in the slate."""

    @property
    def item_ids(self) -> list[str]:
        """Of the slate, best first."""
        return [item.item_id for item in self.items]

    def kept_by(self, entry: Entry) -> Composed:
        """The same with what the cache keeps of the request that computed it."""
        return self._replace(origin=entry.request_id, propensities=entry.propensities)


async def recommend(edge: Edge, query: wire.Query, *, page: int = 0, force_refresh: bool = False) -> Slate:
    """The user's slate. It always has items while the catalogue has some that are neither seen nor excluded.

    Args:
        page: counts from 0; later pages have what the earlier ones did not.
    """
    detail = edge.decisions.detail_of(query.scene)
    slate, decision = await _decide(edge, query, detail, page=page, force_refresh=force_refresh)
    if decision is not None:
        edge.decisions.note(decision)
    return slate


async def recommend_traced(edge: Edge, query: wire.Query, *, page: int = 0) -> tuple[Slate, Decision]:
    """A slate computed anew, and in full detail how it came about, which is logged whatever the shares."""
    slate, decision = await _decide(edge, query, "full", page=page, force_refresh=True)
    assert decision is not None
    edge.decisions.note(decision)
    return slate, decision


async def _decide(
    edge: Edge, query: wire.Query, detail: Detail | None, *, page: int, force_refresh: bool
) -> tuple[Slate, Decision | None]:
    if detail == "full":
        query = structs.replace(query, traced=True)
    deadline, watch = deadline_of(edge), Stopwatch(end_of(edge))
    target = edge.colours.target_of(query.user_id)
    hard = edge.standing(query.scene)
    place = place_of(query, page, target.version, hard)
    found = await look_up(edge, watch, query, place, force_refresh=force_refresh)
    entry, shown = found.entry, recent.decode(found.shown)
    asked = on_page(query, page, shown, edge.scenes[query.scene].repetition)
    if entry is not None and found.fresh and not force_refresh and _fits(edge, asked, entry.items, hard):
        composed = Composed("cache", entry.items, entry.model_version).kept_by(entry)
    else:
        told = await rank(edge, watch, asked.query, deadline)
        composed = await _compose(edge, watch, asked, told, entry, hard)
    await _keep(edge, watch, query, place, found.epoch, shown, composed)
    if _counts(composed, entry, shown):
        edge.click_rates.shown(composed.item_ids)
    slate = _slate(edge, query, watch, composed, target)
    if detail is None:
        return slate, None
    decision = decision_of(
        query,
        slate,
        target.colour,
        edge.colours.routing_digest,
        propensities=composed.propensities,
        origin=composed.origin,
        trace=None if composed.answer is None else composed.answer.slate.trace,
    )
    return slate, decision


def _counts(composed: Composed, entry: Entry | None, shown: Sequence[Shown]) -> bool:
    """Whether it is an impression: computed now, or ahead of requests and not shown since, as far as is remembered."""
    if composed.served_from != "cache":
        return True
    return entry is not None and entry.is_ahead and not recent.was_shown(shown, composed.item_ids)


async def _keep(
    edge: Edge,
    watch: Stopwatch,
    query: wire.Query,
    place: Place,
    epoch: int,
    shown: Sequence[Shown],
    composed: Composed,
) -> None:
    """Remember what was shown, if that is news and Redis answered before; a new slate that is whole is cached."""
    if "cache" in watch.degraded:
        return
    answer = composed.answer
    entry = None
    if answer is not None and not watch.degraded and answer.model_version == place.version:
        entry = Entry(
            epoch=epoch,
            created=time.time(),
            model_version=composed.model_version,
            segment=answer.slate.segment,
            items=composed.items,
            request_id=query.request_id,
            propensities=dict(composed.propensities),
        )
    if entry is None and recent.is_last(shown, place.page, composed.item_ids):
        return
    remembered = with_new(shown, place.page, composed.item_ids, edge.scenes[query.scene].repetition.slates)
    ttl_s = edge.cache_ttl_s(query.scene)
    with watch.stage("cache_write"):
        async with asyncio.timeout_at(watch.end and max(watch.end, asyncio.get_running_loop().time() + WRITE_S)):
            await edge.cache.write(
                query.user_id, place.variant, entry, query.scene, remembered, epoch=epoch, ttl_s=ttl_s
            )


def deadline_of(edge: Edge) -> float:
    """When the models must have answered a request that arrives now, on the event loop's clock."""
    return asyncio.get_running_loop().time() + MODELS_PART * edge.settings.edge.deadline_ms / 1000


def end_of(edge: Edge) -> float:
    """When a request that arrives now must be answered, on the event loop's clock."""
    return asyncio.get_running_loop().time() + edge.settings.edge.deadline_ms / 1000


async def trail_of(edge: Edge, watch: Stopwatch, user_id: str) -> Trail:
    """The user's recent events; empty when there are none, or Redis does not answer in time."""
    trail = NO_TRAIL
    with watch.stage("trail"):
        async with asyncio.timeout_at(watch.end):
            with edge.redis_breaker:
                (trail,) = await trails.read(edge.redis, [user_id])
    return trail


def seen_items(shelf: Shelf, trail: Trail) -> set[str]:
    """Ids of the catalogue items in a trail."""
    return {shelf.item_ids[code] for code in shelf.codes_of(trail["item"]).tolist() if code >= 0}


def _fits(edge: Edge, asked: Asked, items: Sequence[SlateItem], hard: Standing | None) -> bool:
    """Whether a slate that was computed before, or elsewhere, may be shown now as the page that is asked for.

    Since then items may have changed, and the pages before this one may have shown others.
    """
    item_ids, refused = [item.item_id for item in items], set(asked.query.exclude)
    if not (edge.gone.isdisjoint(item_ids) and refused.isdisjoint(item_ids)):
        return False
    if hard is None:
        return True
    pinned = hard.pinned(edge.leaving_out(refused), asked.query.n).items()
    of_page = {place - asked.skipped: item_id for place, item_id in pinned if place >= asked.skipped}
    return hard.admits(item_ids, of_page, asked.query.n - asked.skipped)


async def rank(edge: Edge, watch: Stopwatch, query: wire.Query, deadline: float) -> Answer | None:
    """What the models answer; None when they are away or late."""
    answer: Answer | None = None
    with watch.stage("ray"):
        answer = await edge.colours.ask(query, deadline)
    if answer is not None:
        watch.stage_ms.update(answer.stage_ms)
        watch.note([*answer.degraded, *answer.slate.degraded])
    return answer


async def _compose(
    edge: Edge, watch: Stopwatch, asked: Asked, answer: Answer | None, entry: Entry | None, hard: Standing | None
) -> Composed:
    """The answer of the models where it is whole, otherwise the ladder from there down, which keeps to the rules."""
    query = asked.query
    excluded = edge.leaving_out(set(query.exclude))
    if answer is not None:
        rungs: list[Rung] = [(answer.slate.served_from, ladder.ranked(answer.slate))]
        served_from, items = ladder.climb_down(rungs, query.n, excluded)
        page = _page(items, asked.skipped)
        if len(items) == query.n and _fits(edge, asked, page, hard):
            return Composed(served_from, page, answer.model_version, answer, propensities=answer.slate.chances())
    trail = await trail_of(edge, watch, query.user_id)
    user = await introduced(edge, watch, query.user_id, trail)
    seen = seen_items(edge.shelf, user.trail)
    served_from, items = ladder.climb_down(rungs_of(edge, query, answer, entry, user), query.n, excluded, hard, seen)
    version = version_of(edge, served_from, answer, entry)
    composed = Composed(served_from, _page(items, asked.skipped), version, answer)
    if entry is not None and served_from == "cache":
        return composed.kept_by(entry)
    return composed if answer is None else composed._replace(propensities=answer.slate.chances())


def _page(items: tuple[SlateItem, ...], skipped: int) -> tuple[SlateItem, ...]:
    """Without the items of earlier pages."""
    if not skipped:
        return items
    return tuple(replace(item, position=position) for position, item in enumerate(items[skipped:]))


def rungs_of(
    edge: Edge, query: wire.Query, answer: Answer | None, entry: Entry | None, user: Introduced
) -> Iterator[Rung]:
    """The ladder, best rung first; a rung's work is done only when it is reached."""
    shelf = edge.shelf
    segment = answer.slate.segment if answer is not None else entry.segment if entry is not None else None
    if answer is not None:
        yield answer.slate.served_from, ladder.ranked(answer.slate)
    if entry is not None:
        yield "cache", ladder.stale(entry.items)
    life_h = edge.scenes[query.scene].item_life_h
    young = partial(ladder.young, shelf, None if life_h is None else time.time() - life_h * 3600)
    yield "session", young(ladder.session(shelf, user.trail))
    yield "segment", young(ladder.segment(shelf, [segment] if segment else user.strongest(shelf)))
    yield "segment", young(ladder.demographic(shelf, query.country or user.country, query.device))
    yield "trending", ladder.trending(shelf, edge.trending.hot(shelf))
    yield "static", young(ladder.static(shelf))
    if life_h is not None:  # better old than nothing
        yield "static", ladder.static(shelf)


def version_of(edge: Edge, served_from: ServedFrom, answer: Answer | None, entry: Entry | None) -> str:
    """What the items that came from `served_from` call their model."""
    if answer is not None:
        return answer.model_version
    if entry is not None and served_from == "cache":
        return entry.model_version
    return edge.shelf.version


def _slate(edge: Edge, query: wire.Query, watch: Stopwatch, composed: Composed, target: Target) -> Slate:
    SLATES.labels(composed.served_from, query.scene).inc()
    edge.colours.meter.shown(target.colour, query.user_id, composed.item_ids)
    return Slate(
        request_id=query.request_id,
        user_id=query.user_id,
        scene=query.scene,
        items=composed.items,
        model_version=composed.model_version,
        served_from=composed.served_from,
        degraded=tuple(dict.fromkeys(watch.degraded)),
        stage_ms=watch.stage_ms,
    )
