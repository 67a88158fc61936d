"""The HTTP calls. Handlers read bytes and answer bytes (msgspec); FastAPI only documents them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import prometheus_client
from fastapi import APIRouter
from redis.exceptions import OutOfMemoryError
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.answers import Accepted, Alive, Dependency, ItemList, Readiness
from tastemaker.errors import NotFound, TastemakerError, TooManyRequests, Unavailable
from tastemaker.events import schema, stream
from tastemaker.events.trending import EVERYBODY
from tastemaker.metrics import EVENTS
from tastemaker.scenes import SIMILAR, TRENDING
from tastemaker.types import Event
from tastemaker_serving import wire
from tastemaker_serving.edge import documents, ladder, parameters
from tastemaker_serving.edge.breaker import Breaker
from tastemaker_serving.edge.clicks import Click
from tastemaker_serving.edge.explanations import with_explanation
from tastemaker_serving.edge.ladder import Rung
from tastemaker_serving.edge.lists import note_list
from tastemaker_serving.edge.named import rank_named
from tastemaker_serving.edge.pressure import held_back
from tastemaker_serving.edge.recommend import deadline_of, recommend, recommend_traced, seen_items, trail_of
from tastemaker_serving.edge.requests import admitted, edge_of, json_answer, json_body, path_id, permitted, request_id
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch

RECOMMENDATIONS = "/v1/users/{user_id}/recommendations"

router = APIRouter()


@router.get(RECOMMENDATIONS, **documents.SLATE)
async def get_recommendations(request: Request) -> Response:
    """A personal slate. A user never heard of gets what is popular; `served_from` names the rung that answered."""
    edge = admitted(request, "read")
    wanted = parameters.parse(request.scope["query_string"], parameters.SlateParameters)
    _ = edge.scenes[wanted.scene]  # refuses an unknown one
    query = wire.Query(
        request_id=request_id(request),
        user_id=path_id(request, "user_id"),
        scene=wanted.scene,
        device=wanted.device,
        n=edge.length(wanted.n),
        exclude=wanted.exclude,
        country=wanted.country,
    )
    if not wanted.explain:
        return json_answer(await recommend(edge, query, page=wanted.page, force_refresh=wanted.force_refresh))
    permitted(request, "admin")
    return json_answer(with_explanation(*await recommend_traced(edge, query, page=wanted.page)))


@router.get("/v1/items/{item_id}/similar", **documents.SIMILAR)
async def get_similar(request: Request) -> Response:
    """Items that the same users took to, topped up with what is popular in the item's categories.

    For a user, in the order of their taste as well, without what they have seen.
    """
    edge = admitted(request, "read")
    deadline, shelf = deadline_of(edge), edge.shelf
    wanted = parameters.parse(request.scope["query_string"], parameters.SimilarParameters)
    item_id = path_id(request, "item_id")
    code = shelf.code_of.get(item_id)
    if code is None:
        raise NotFound(f"no item {item_id!r:.80} in the catalogue", "Use the item_id of a slate or of the item data")
    query = wire.Query(request_id(request), wanted.user_id or "", SIMILAR, None, edge.length(wanted.n))
    watch = Stopwatch()
    leave_out = {item_id}
    rungs: list[Rung] = [
        ("session", ladder.neighbours_of(shelf, code)),
        ("segment", ladder.popular_in(shelf, shelf.categories[code])),
        ("static", ladder.static(shelf)),
    ]
    if wanted.user_id is not None:
        leave_out |= seen_items(shelf, await trail_of(edge, watch, wanted.user_id))
        near = [pick for pick in ladder.neighbours_of(shelf, code) if pick.item_id not in leave_out]
        rungs[:0] = await rank_named(edge, watch, query, near, deadline)
    return _item_list(edge, query, rungs, leave_out, watch)


@router.get("/v1/trending", **documents.TRENDING)
async def get_trending(request: Request) -> Response:
    """What users take to now, in a country or everywhere, topped up with what has been popular all along."""
    edge = admitted(request, "read")
    shelf = edge.shelf
    wanted = parameters.parse(request.scope["query_string"], parameters.TrendingParameters)
    category = wanted.category
    hot = edge.trending.hot(shelf, wanted.window, wanted.country or EVERYBODY)
    if category is None:
        rungs: list[Rung] = [("trending", ladder.trending(shelf, hot)), ("static", ladder.static(shelf))]
    elif category in shelf.popular_in:
        hot = tuple((code, score) for code, score in hot if category in shelf.categories[code])
        rungs = [("trending", ladder.trending(shelf, hot)), ("segment", ladder.popular_in(shelf, [category]))]
    else:
        raise NotFound(f"unknown category {category!r:.80}", f"Use one of {', '.join(sorted(shelf.popular_in))}")
    query = wire.Query(request_id(request), "", TRENDING, None, edge.length(wanted.n))
    return _item_list(edge, query, rungs, set(), Stopwatch())


@router.post(documents.EVENTS_PATH, **documents.EVENTS)
async def post_events(request: Request) -> Response:
    """Take one event or a list of them. Send an `event_id` of your own, and after any error but 400 send them again."""
    edge = admitted(request, "write")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    try:
        events = schema.parse(await json_body(request), edge.settings, datetime.now(UTC))
    except TastemakerError:
        EVENTS.labels("", "refused").inc()
        raise
    try:
        edge.pressure.check(len(events))
        with edge.patient.breaker:
            await _publish(edge, events)
    except TooManyRequests:
        EVENTS.labels("", "held back").inc(len(events))
        raise
    for event_type, accepted in Counter(event.event_type for event in events).items():
        EVENTS.labels(event_type, "accepted").inc(accepted)
    for event in events:
        if event.request_id is not None:
            _note_click(edge, event)
    return json_answer(Accepted([event.event_id for event in events]), status=202)


@router.get("/healthz", **documents.ALIVE)
async def get_health(request: Request) -> Response:
    """Whether the process answers; asks nobody else."""
    return json_answer(Alive())


@router.get("/readyz", **documents.READY)
async def get_readiness(request: Request) -> Response:
    """Ready once the catalogue is in memory; `degraded` while a dependency is away and slates are less personal."""
    edge = edge_of(request)
    shelf = edge.shelf
    redis, ray = await asyncio.gather(_ask(edge.redis_breaker), _ask(edge.colours.breaker))
    return json_answer(
        Readiness(
            status="ready" if redis.up and ray.up else "degraded",
            model_version=shelf.version,
            items=len(shelf.item_ids),
            dependencies={"redis": redis, "ray": ray},
        )
    )


@router.get("/metrics", **documents.METRICS)
async def get_metrics(request: Request) -> Response:
    """Prometheus metrics of this process."""
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


async def _publish(edge: Edge, events: Sequence[Event]) -> None:
    try:
        await stream.publish(edge.patient.redis, events, edge.settings.ingest.shards)
    except OutOfMemoryError as error:  # no fault of Redis, which still answers whoever reads
        raise held_back("Redis has no memory left") from error


def _note_click(edge: Edge, event: Event) -> None:
    """A positive event that names a request is a click on its slate."""
    positive = edge.settings.event_type(event.event_type).preference(event.value) > 0
    if not positive or edge.colours.routing is None:
        return
    scene = event.scene if event.scene is not None and event.scene in edge.scenes else ""
    colour = edge.colours.target_of(event.user_id).colour
    edge.clicks.note(Click(event.user_id, event.item_id, scene, colour, edge.colours.meter.period))


async def _ask(breaker: Breaker) -> Dependency:
    try:
        with breaker:
            await breaker.probe()
    except Unavailable as error:
        return Dependency(False, error.problem)
    return Dependency(True)


def _item_list(edge: Edge, query: wire.Query, rungs: list[Rung], leave_out: set[str], watch: Stopwatch) -> Response:
    version = edge.shelf.version
    served_from, items = ladder.climb_down(rungs, query.n, edge.leaving_out(leave_out), edge.standing(query.scene))
    note_list(edge, query, served_from, items, version, watch)
    return json_answer(ItemList(query.request_id, items, version, served_from, tuple(watch.degraded)))
