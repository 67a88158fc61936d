"""How a slate came about: of a recent request, or with the slate itself."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.answers import ExplainedSlate
from tastemaker.decisions import recent
from tastemaker.decisions.explanation import Explanation, Fate, Signal, explain
from tastemaker.decisions.record import Decision
from tastemaker.errors import InvalidInput, NotFound
from tastemaker.types import Slate
from tastemaker_serving.edge import documents, parameters
from tastemaker_serving.edge.documents import Refusal
from tastemaker_serving.edge.parameters import REQUEST_ID
from tastemaker_serving.edge.requests import admitted, json_answer

_SHOWN = Fate(
    item_id="318",
    stage="shown",
    why="1st of 1, from two-tower. 3rd of 1,000 by the ranker, with a score of 0.08.",
    position=0,
    rank=3,
    score=0.08,
    source="two-tower",
    signals={"two_tower": Signal(11.2, 1)},
    reason="Because you liked The Green Mile",
)
_ASKED = Fate("50", "ranking", "412th of 1,000 by the ranker, …", rank=412, score=0.003, value=412)
_EXAMPLE = Explanation(
    request_id="5f1c3d0e8a7b4c2f9d6e1a0b3c4d5e6f",
    user_id="42",
    scene="home",
    time=datetime(2026, 1, 31, 20, 15, tzinfo=UTC),
    n=1,
    device="tv",
    exclude=(),
    colour="blue",
    routing="8c1f0f2a3b4d5e6f",
    experiments={},
    model_version="tastemaker/3",
    served_from="ranked",
    degraded=(),
    stage_ms={"cache": 0.4, "ray": 21.7},
    detail="full",
    origin="",
    candidates=1000,
    dropped={"seen": 12, "excluded": 0, "ranking": 900, "re-ranking": 99},
    items=(_SHOWN,),
    item=_ASKED,
)
_BAD = Refusal("the request cannot be used", "'?' is no request id", "Use the `request_id` of a slate")
_NONE = Refusal(
    "no recent request of that id was logged",
    "no recent decision of request 'x'",
    "See `decisions` in the settings for what is logged; `tastemaker explain` looks in the lake, too",
)
DOCUMENT = documents.answer(
    Explanation, _EXAMPLE, scope="admin", errors={400: _BAD, 404: _NONE, 503: documents.AWAY}
) | {"openapi_extra": parameters.openapi(["request_id"], parameters.ExplanationParameters)}

router = APIRouter()


@router.get("/v1/requests/{request_id}", **DOCUMENT)
async def get_request(request: Request) -> Response:
    """What a recent slate was made of: each item with its source, signals and scores; and what became of `item`.

    `tastemaker explain` knows of requests that are no longer recent, too.
    """
    edge = admitted(request, "admin")
    wanted = parameters.parse(request.scope["query_string"], parameters.ExplanationParameters)
    request_id: str = request.path_params["request_id"]
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidInput(f"{request_id!r:.80} is no request id", _BAD.remedy)
    with edge.patient.breaker:
        decision = await recent.find(edge.patient.redis, request_id)
    if decision is None:
        raise NotFound(f"no recent decision of request {request_id!r}", _NONE.remedy)
    shelf = edge.shelves.current
    there = (
        None if shelf is None or wanted.item is None else wanted.item in shelf.code_of and wanted.item not in shelf.gone
    )
    return json_answer(explain(decision, wanted.item, in_catalogue=there))


def with_explanation(slate: Slate, decision: Decision) -> ExplainedSlate:
    """The slate with the explanation of what was logged of it."""
    known = {field.name: getattr(slate, field.name) for field in fields(Slate)}
    return ExplainedSlate(**known, explanation=explain(decision))
