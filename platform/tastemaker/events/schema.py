"""An event as clients send it, and the same event on its way through the stream to the lake."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.lake import EVENT_SCHEMA
from tastemaker.types import Event

MAX_EVENTS = 1000
MAX_ID_LENGTH = 128
MAX_CLOCK_SKEW = timedelta(hours=1)  # a client further ahead has a wrong clock or a wrong time zone
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # trails keep unsigned seconds

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Place = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class EventForm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The JSON object that a client sends. `event_id` makes a retry safe: a repeated one counts once."""

    user_id: Id
    item_id: Id
    event_type: Id
    event_id: Id | None = None
    timestamp: Instant | None = None
    value: float | None = None
    session_id: Id | None = None
    device: Id | None = None
    scene: Id | None = None
    request_id: Id | None = None
    position: Place | None = None


REMEDIES = {
    "timestamp": "Send RFC 3339 with an offset, such as 2026-01-31T18:00:00Z, or leave it out for the time of receipt",
    "value": "Send a finite number on the event type's own scale, or leave it out",
    "position": "Send the item's place in the slate, a whole number from 0, or leave it out",
}
REQUIRED = ("user_id", "item_id", "event_type")
ID_REMEDY = f"Send a string of 1 to {MAX_ID_LENGTH} characters"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode
_FIELD = re.compile(r"(?:field `(?P<named>.*?)`|at `\$\.(?P<at>\w+)`)", re.DOTALL)


def parse(body: bytes, settings: Settings, now: datetime) -> list[Event]:
    """The events of a request body: one JSON object, or a list of up to MAX_EVENTS; all of them or none.

    A missing `event_id` is made up, a missing `timestamp` is `now` (UTC). Clocks ahead by up to MAX_CLOCK_SKEW are set
    to `now`: nothing reaches us before it happened.

    Raises:
        InvalidInput: the message names the event's index, the field, its value and what to change.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", "Send one event object or a list of them") from error
    objects = document if isinstance(document, list) else [document]
    if len(objects) > MAX_EVENTS:
        raise InvalidInput(f"{len(objects)} events in one request", f"Send at most {MAX_EVENTS} at a time")
    return [_event(index, fields, settings, now) for index, fields in enumerate(objects)]


def encode(event: Event) -> bytes:
    """The event as the stream carries it: JSON, so that any consumer can read it."""
    return _encode(event)


def decode(blob: bytes) -> Event:
    """The event that the stream carried. Raises msgspec.DecodeError when it is none."""
    return _decode(blob)


def to_arrow(events: Sequence[Event]) -> pa.Table:
    """The events as a table in lake.EVENT_SCHEMA."""
    return pa.table(
        {name: [getattr(event, name) for event in events] for name in EVENT_SCHEMA.names}, schema=EVENT_SCHEMA
    )


def _event(index: int, fields: Any, settings: Settings, now: datetime) -> Event:
    try:
        form = msgspec.convert(fields, EventForm)
    except msgspec.ValidationError as error:
        raise _refusal(index, fields, error) from error
    try:
        settings.event_type(form.event_type)
    except InvalidInput as error:
        raise InvalidInput(f"event {index}: {error.problem}", error.remedy) from error
    if form.value is not None and not math.isfinite(form.value):
        raise InvalidInput(f"event {index}: value is {form.value}", REMEDIES["value"])
    completed = {
        "event_id": form.event_id or uuid.uuid4().hex,
        "timestamp": _happened(index, form.timestamp, now),
    }
    return Event(**msgspec.structs.asdict(form) | completed)


def _happened(index: int, timestamp: datetime | None, now: datetime) -> datetime:
    if timestamp is None:
        return now
    if timestamp > now + MAX_CLOCK_SKEW:
        problem = f"event {index}: timestamp {timestamp.isoformat()} lies in the future (here it is {now.isoformat()})"
        raise InvalidInput(problem, "Correct the sender's clock or the offset")
    if timestamp < EPOCH:
        raise InvalidInput(
            f"event {index}: timestamp {timestamp.isoformat()} lies before 1970", "Correct the sender's clock"
        )
    return min(timestamp, now).astimezone(UTC)


def _refusal(index: int, fields: Any, error: msgspec.ValidationError) -> InvalidInput:
    """msgspec's complaint, with the value it is about and a remedy."""
    if not isinstance(fields, dict):
        return InvalidInput(f"event {index}: {_shown(fields)} is not an object", f"Send {', '.join(REQUIRED)}")
    found = _FIELD.search(str(error))
    field = (found["named"] or found["at"]) if found else ""
    if field not in EventForm.__struct_fields__:
        known = ", ".join(EventForm.__struct_fields__)
        return InvalidInput(f"event {index}: unknown field {_shown(field)}", f"Known fields are {known}")
    remedy = REMEDIES.get(field, ID_REMEDY)
    if field not in fields:
        return InvalidInput(f"event {index}: {field} is missing", remedy)
    return InvalidInput(f"event {index}: {field} is {_shown(fields[field])}", remedy)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
