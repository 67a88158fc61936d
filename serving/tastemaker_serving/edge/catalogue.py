"""The catalogue while it is served: items are put and removed without a new bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tastemaker.answers import Changed
from tastemaker.catalogue import schema
from tastemaker.catalogue.log import ItemChange
from tastemaker.catalogue.log import items as item_log
from tastemaker.catalogue.schema import MAX_ITEMS, ItemForm
from tastemaker.types import Item
from tastemaker_serving.edge import documents, parameters
from tastemaker_serving.edge.requests import admitted, json_answer, json_body, path_id
from tastemaker_serving.edge.state import Edge

router = APIRouter()

_VERSION = 1_769_875_200_000_000
_ITEM = {"item_id": "318", "title": "The Shawshank Redemption", "categories": ["Crime", "Drama"], "release_year": 1994}
_REMOVAL_ERRORS = {400: documents.BAD, 503: documents.AWAY}


def _items() -> dict[str, Any]:
    item = msgspec.json.schema(ItemForm)["$defs"][ItemForm.__name__]
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ITEMS}


PUT = documents.answer(Changed, Changed(["318"], _VERSION), 202, scope="admin", errors=documents.BODY_ERRORS) | {
    "openapi_extra": documents.body(_items(), [_ITEM])
}
DELETE = documents.answer(Changed, Changed(["318"], _VERSION), 202, scope="admin", errors=_REMOVAL_ERRORS) | {
    "openapi_extra": documents.in_path("item_id")
}


@router.put("/v1/items", **PUT)
async def put_items(request: Request) -> Response:
    """Add items or replace what is known of them, all or none; within a second or two every slate goes by it."""
    edge = admitted(request, "admin")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    items = schema.parse(await json_body(request))
    return await _change(edge, {item.item_id: item for item in items})


@router.delete("/v1/items/{item_id}", **DELETE)
async def delete_item(request: Request) -> Response:
    """Remove an item: it is in no slate any more, and the next training does not know it. Repeating it is safe."""
    edge = admitted(request, "admin")
    parameters.parse(request.scope["query_string"], parameters.NoParameters)
    return await _change(edge, {path_id(request, "item_id"): None})


async def _change(edge: Edge, items: Mapping[str, Item | None]) -> Response:
    with edge.patient.breaker:
        version = await item_log.publish(edge.patient.redis, items)
    # This process knows at once, the others see it at their next look.
    await edge.shelves.apply([ItemChange(version, item_id, item) for item_id, item in items.items()])
    return json_answer(Changed(list(items), version), status=202)
