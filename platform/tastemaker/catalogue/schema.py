"""Items as clients send them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from tastemaker.errors import InvalidInput
from tastemaker.events.schema import EPOCH, MAX_ID_LENGTH
from tastemaker.refusals import refusal, shown
from tastemaker.types import Item

MAX_ITEMS: Final = 1000
MAX_TITLE: Final = 1000
MAX_TEXT: Final = 20_000
MAX_CATEGORIES: Final = 50
LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)

Name = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]


class ItemForm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The JSON object of one item. It takes the place of all that was known of the item."""

    item_id: Name
    title: Annotated[str, Meta(min_length=1, max_length=MAX_TITLE)]
    categories: Annotated[list[Name], Meta(max_length=MAX_CATEGORIES)] = []
    author: Name | None = None
    published_at: Annotated[datetime, Meta(tz=True)] | None = None
    release_year: Annotated[int, Meta(ge=1, le=9999)] | None = None
    content_length_min: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    text: Annotated[str, Meta(max_length=MAX_TEXT)] = ""
    available: Annotated[bool, Meta(description="false keeps it out of slates without forgetting it")] = True


REMEDIES: Final = {
    "title": f"Send a string of 1 to {MAX_TITLE} characters",
    "categories": f"Send a list of at most {MAX_CATEGORIES} strings of 1 to {MAX_ID_LENGTH} characters",
    "published_at": "Send RFC 3339 with an offset, such as 2026-01-31T18:00:00Z, from 1970 on, or leave it out",
    "release_year": "Send a whole number from 1 to 9999, or leave it out",
    "content_length_min": "Send minutes, a number from 0 to 1,000,000, or leave it out",
    "text": f"Send a string of at most {MAX_TEXT} characters, or leave it out",
    "available": "Send true or false, or leave it out",
}
REQUIRED: Final = ("item_id", "title")
ID_REMEDY: Final = f"Send a string of 1 to {MAX_ID_LENGTH} characters"


def parse(body: bytes) -> list[Item]:
    """The items of a request body: a list of up to MAX_ITEMS objects, none twice; all of them or none.

    Raises:
        InvalidInput: the message names the item's index, the field, its value and what to change.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", "Send a list of items") from error
    if not isinstance(document, list) or not document:
        raise InvalidInput(f"the body is {shown(document)}", "Send a list of at least one item")
    if len(document) > MAX_ITEMS:
        raise InvalidInput(f"{len(document)} items in one request", f"Send at most {MAX_ITEMS} at a time")
    items: dict[str, int] = {}
    parsed = [_item(index, fields) for index, fields in enumerate(document)]
    for index, item in enumerate(parsed):
        first = items.setdefault(item.item_id, index)
        if first != index:
            raise InvalidInput(f"item {index}: item {first} has the item_id {shown(item.item_id)}, too", "Send it once")
    return parsed


def _item(index: int, fields: Any) -> Item:
    try:
        form = msgspec.convert(fields, ItemForm)
    except msgspec.ValidationError as error:
        raise refusal(
            f"item {index}",
            fields,
            error,
            ItemForm,
            required=REQUIRED,
            remedies=REMEDIES,
            otherwise=ID_REMEDY,
        ) from error
    published = form.published_at
    if published is not None and not EPOCH <= published < LAST:
        raise InvalidInput(f"item {index}: published_at is {published.isoformat()}", REMEDIES["published_at"])
    return Item(
        **msgspec.structs.asdict(form)
        | {
            "categories": tuple(dict.fromkeys(form.categories)),
            "published_at": published and published.astimezone(UTC),
        }
    )
