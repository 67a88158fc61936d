"""Slates for visitors who are no users: all that is known of them is what they took to in this session."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from tastemaker import scenes
from tastemaker.answers import ItemList
from tastemaker.features import trail as trails
from tastemaker.types import SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge import documents, forms, ladder, parameters
from tastemaker_serving.edge.introduction import Introduced
from tastemaker_serving.edge.ladder import Rung
from tastemaker_serving.edge.lists import note_list
from tastemaker_serving.edge.parameters import Id, N
from tastemaker_serving.edge.recommend import deadline_of, rank, rungs_of, seen_items, version_of
from tastemaker_serving.edge.requests import admitted, json_answer, json_body, request_id
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch

MOST_ITEMS = 100

router = APIRouter()


class SessionForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/sessions/recommendations`."""

    item_ids: Annotated[
        tuple[Id, ...],
        Meta(min_length=1, max_length=MOST_ITEMS, description="what the visitor took to in this session, oldest first"),
    ]
    n: N = None


SESSION = documents.answer(
    ItemList,
    ItemList(
        "5f1c3d0e8a7b4c2f9d6e1a0b3c4d5e6f",
        (SlateItem("50", 0.81, 0, "session", "Because you liked Pulp Fiction"),),
        "a1b2c3d4e5f6",
        "ranked",
    ),
    scope="read",
    errors=documents.BODY_ERRORS,
) | documents.reading(documents.body(forms.schema(SessionForm), {"item_ids": ["296", "318"], "n": 10}))


@router.post("/v1/sessions/recommendations", **SESSION)
async def post_session(request: Request) -> Response:
    """What goes on from the items of a session. Ids that the catalogue lacks say nothing."""
    edge = admitted(request, "read")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    form = forms.parse(await json_body(request), SessionForm)
    query = wire.Query(
        request_id=request_id(request),
        user_id="",
        scene=scenes.HOME,
        device=None,
        n=edge.length(form.n),
        history=list(form.item_ids),
    )
    return json_answer(await recommend(edge, query))


async def recommend(edge: Edge, query: wire.Query) -> ItemList:
    """Items for the session of `query.history`; the models' where they answer, otherwise from the ladder."""
    watch = Stopwatch()
    answer = await rank(edge, watch, query, deadline_of(edge))
    session = trails.of_items(query.history, int(time.time()))
    rungs: Iterable[Rung] = rungs_of(edge, query, answer, None, Introduced(session))
    seen, hard = seen_items(edge.shelf, session), edge.standing(query.scene)
    served_from, items = ladder.climb_down(rungs, query.n, edge.leaving_out(set()), hard, seen)
    edge.click_rates.shown(item.item_id for item in items)
    version = version_of(edge, served_from, answer, None)
    note_list(edge, query, served_from, items, version, watch)
    return ItemList(query.request_id, items, version, served_from, tuple(watch.degraded))
