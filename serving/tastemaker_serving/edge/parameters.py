"""Query parameters: one struct per call checks them and documents them in OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from tastemaker.errors import InvalidInput
from tastemaker.events.schema import MAX_ID_LENGTH
from tastemaker.events.trending import Window
from tastemaker.profiles import Country
from tastemaker.scenes import HOME
from tastemaker_serving.edge.recent import MAX_PAGE

MAX_ITEMS = 100
MAX_EXCLUDED = 1000

Count = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
N = Annotated[Count | None, Meta(description="how many items; the default is `serving.funnel.slate`")]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
PATH_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
"""JSON schema of an id in a path, where it is percent-encoded."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PATH_SCHEMAS = {"request_id": {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"}}
Excluded = Annotated[list[Id], Meta(max_length=MAX_EXCLUDED)]


class SlateParameters(msgspec.Struct, frozen=True):
    """Of `GET /v1/users/{user_id}/recommendations`."""

    n: N = None
    scene: Annotated[str, Meta(description="where the slate is shown", examples=[HOME])] = HOME
    device: Annotated[Id | None, Meta(description="mobile, desktop, tv or another", examples=["tv"])] = None
    country: Annotated[
        Id | None, Meta(description="where the user is, spelt as in the user data; tells of new users", examples=["DE"])
    ] = None
    exclude: Annotated[
        Excluded, Meta(description="item ids to leave out: one `exclude` with commas between them, or one for each")
    ] = []
    page: Annotated[
        int, Meta(ge=0, le=MAX_PAGE, description="from 0; later pages show what the earlier ones did not")
    ] = 0
    force_refresh: Annotated[bool, Meta(description="compute a new slate even where a cached one is fresh")] = False
    explain: Annotated[
        bool,
        Meta(description="compute a new slate and add `explanation`, as GET /v1/requests has it; needs an admin key"),
    ] = False


class SimilarParameters(msgspec.Struct, frozen=True):
    """Of `GET /v1/items/{item_id}/similar`."""

    n: N = None
    user_id: Annotated[Id | None, Meta(description="in this user's order, without what they have seen")] = None


class TrendingParameters(msgspec.Struct, frozen=True):
    """Of `GET /v1/trending`."""

    n: N = None
    category: Annotated[Id | None, Meta(description="only items of this category")] = None
    window: Annotated[Window, Meta(description="since when; what happened later weighs more")] = "1h"
    country: Annotated[
        Country | None, Meta(description="what users of this country take to, by their profiles", examples=["DE"])
    ] = None


class ExplanationParameters(msgspec.Struct, frozen=True):
    """Of `GET /v1/requests/{request_id}`."""

    item: Annotated[Id | None, Meta(description="an item of which `item` then says what became of it")] = None


class NoParameters(msgspec.Struct, frozen=True):
    """Of calls that take none."""


Parameters = TypeVar("Parameters", bound=msgspec.Struct)
_PLACE = re.compile(r"^(?P<expected>.*?)(?: - at `\$\.(?P<name>\w+).*`)?$", re.DOTALL)


def parse(query: bytes, kind: type[Parameters]) -> Parameters:
    """The parameters in a raw query string.

    Raises:
        InvalidInput: one is unknown, given twice, or out of range; the message names it.
    """
    if not query:
        return kind()
    known = kind.__struct_fields__
    values: dict[str, Any] = {}
    excluded: list[str] = []
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in known:
            raise InvalidInput(f"unknown query parameter {name!r:.80}", f"Known are {', '.join(known) or 'none'}")
        if name == "exclude":
            excluded.append(value)
        elif name in values:
            raise InvalidInput(f"query parameter {name!r} is given twice", "Send it once")
        else:
            values[name] = value
    if excluded:
        values["exclude"] = _item_ids(excluded)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(values, error) from error


def check_id(name: str, value: str) -> None:
    """Raises InvalidInput for an id in the path that no event could carry."""
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise InvalidInput(f"{name} has {len(value)} characters", f"Send 1 to {MAX_ID_LENGTH}")


def openapi(path_names: Sequence[str], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The `parameters` of an OpenAPI operation."""
    properties = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": PATH_SCHEMAS.get(name, PATH_ID)} for name in path_names
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description")}
        for name, schema in properties.items()
    ]
    return {"parameters": [*in_path, *in_query]}


def _item_ids(given: list[str]) -> list[str]:
    """The ids in a parameter that was given so often: an id that has a comma is sent again, or beside others."""
    item_ids = given[0].split(",") if len(given) == 1 else given
    return list(dict.fromkeys(item_id for item_id in item_ids if item_id))


def _refusal(values: dict[str, Any], error: msgspec.ValidationError) -> InvalidInput:
    found = _PLACE.match(str(error))
    assert found is not None
    name = found["name"]
    return InvalidInput(f"query parameter {name!r} is {values.get(name)!r:.80}", found["expected"].replace("`", ""))
