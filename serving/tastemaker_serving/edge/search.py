"""Search: what has the words, in the order of text match and the user's taste."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.answers import Found
from tastemaker.errors import InvalidInput
from tastemaker.scenes import SEARCH
from tastemaker.types import SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge import documents, forms, ladder, parameters
from tastemaker_serving.edge.ladder import Rung
from tastemaker_serving.edge.lists import note_list
from tastemaker_serving.edge.named import rank_named
from tastemaker_serving.edge.parameters import Id, N
from tastemaker_serving.edge.recommend import deadline_of
from tastemaker_serving.edge.requests import admitted, json_answer, json_body, request_id
from tastemaker_serving.edge.stopwatch import Stopwatch

REMEDY: Final = 'Send words: {"query": "green mil"}'
MAX_QUERY: Final = 200

router = APIRouter()


class SearchForm(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/search`."""

    query: Annotated[str, Meta(max_length=MAX_QUERY, description="words; the last one may be unfinished")]
    user_id: Annotated[Id | None, Meta(description="whose taste has a say in the order")] = None
    n: N = None


_EXAMPLE = Found(
    request_id="5f1c3d0e8a7b4c2f9d6e1a0b3c4d5e6f",
    query="green mil",
    user_id="42",
    items=(SlateItem("3147", 0.61, 0, "text", "Matches your search"),),
    suggestions=(),
    model_version="a1b2c3d4e5f6",
    served_from="ranked",
    stage_ms={"text": 0.3, "ray": 14.2},
)
SEARCH_DOCUMENT = documents.answer(Found, _EXAMPLE, scope="read", errors=documents.BODY_ERRORS) | documents.reading(
    documents.body(forms.schema(SearchForm), {"query": "green mil", "user_id": "42", "n": 10})
)


@router.post("/v1/search", **SEARCH_DOCUMENT)
async def post_search(request: Request) -> Response:
    """Items with the words of a query in title, author, categories or text; what the user likes comes first.

    Where nothing has all the words, misspelt ones are read as what is near them, then some of them are enough. Items
    that the user has seen are found, too. `items` is empty when nothing fits; `suggestions` are then what is popular.
    """
    edge = admitted(request, "read")
    deadline, shelf, watch = deadline_of(edge), edge.shelf, Stopwatch()
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    form = forms.parse(await json_body(request), SearchForm)
    if not form.query.strip():
        raise InvalidInput(f"query {form.query!r} has no words", REMEDY)
    with watch.stage("text"):
        hits = await asyncio.to_thread(shelf.words.search, form.query, edge.settings.serving.funnel.ranked)
    picks = list(ladder.text(hits))
    query = wire.Query(request_id(request), form.user_id or "", SEARCH, None, edge.length(form.n))
    rungs: list[Rung] = [("candidates", picks)]
    if form.user_id is not None:
        rungs[:0] = await rank_named(edge, watch, query, picks, deadline)
    served_from, items = ladder.climb_down(rungs, query.n, edge.gone, edge.standing(SEARCH))
    suggestions: tuple[SlateItem, ...] = ()
    if items:
        note_list(edge, query, served_from, items, shelf.version, watch)
    else:
        popular: list[Rung] = [
            ("trending", ladder.trending(shelf, edge.trending.hot(shelf))),
            ("static", ladder.static(shelf)),
        ]
        served_from, suggestions = ladder.climb_down(popular, query.n, edge.gone, edge.standing(SEARCH))
    return json_answer(
        Found(
            request_id=query.request_id,
            query=form.query,
            user_id=form.user_id,
            items=items,
            suggestions=suggestions,
            model_version=shelf.version,
            served_from=served_from,
            degraded=tuple(watch.degraded),
            stage_ms=watch.stage_ms,
        )
    )
