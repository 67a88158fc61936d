"""An event as clients send it, and the same event on its way through the stream to the lake."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import InvalidInput
from tastemaker.lake import EVENT_SCHEMA
from tastemaker.refusals import refusal
from tastemaker.types import Event

MAX_EVENTS = 1000
MAX_ID_LENGTH = 128
MAX_CLOCK_SKEW = timedelta(hours=1)  # a client further ahead has a wrong clock or a wrong time zone
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # trails keep unsigned seconds

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Place = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class EventForm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The JSON object that a client sends. `event_id` makes a retry safe: a user's repeated one counts once."""

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


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event in the stream: a JSON array of the fields of `types.Event`, its instant in microseconds since the epoch.

    Named fields would cost a third more bytes of Redis and of time. A newer version may add some at the end.
    """

    event_id: Id
    user_id: Id
    item_id: Id
    event_type: Id
    timestamp: Annotated[int, msgspec.Meta(ge=0, lt=2**32 * 1_000_000)]
    value: float | None = None
    session_id: str | None = None
    device: str | None = None
    scene: str | None = None
    request_id: str | None = None
    position: Place | None = None


class Refused(NamedTuple):
    """Something in the stream that is no event: what stood there, and why it cannot be used."""

    payload: bytes
    reason: str


REMEDIES = {
    "timestamp": "Send RFC 3339 with an offset, such as 2026-01-31T18:00:00Z, or leave it out for the time of receipt",
    "value": "Send a finite number on the event type's own scale, or leave it out",
    "position": "Send the item's place in the slate, a whole number from 0, or leave it out",
}
REQUIRED = ("user_id", "item_id", "event_type")
ID_REMEDY = f"Send a string of 1 to {MAX_ID_LENGTH} characters"

_encode = msgspec.json.Encoder().encode
_decode_forms = msgspec.json.Decoder(list[EventForm] | EventForm).decode
_decode_records = msgspec.json.Decoder(list[Record]).decode
_decode_record = msgspec.json.Decoder(Record).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse(body: bytes, settings: Settings, now: datetime) -> list[Event]:
    """The events of a request body: one JSON object, or a list of up to MAX_EVENTS; all of them or none.

    A missing `event_id` is made up, a missing `timestamp` is `now` (UTC). Clocks ahead by up to MAX_CLOCK_SKEW are set
    to `now`: nothing reaches us before it happened.

    Raises:
        InvalidInput: the message names the event's index, the field, its value and what to change.
    """
    try:
        forms = _decode_forms(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        forms = _forms(body)  # which says what is wrong, and where
    if isinstance(forms, EventForm):
        forms = [forms]
    if len(forms) > MAX_EVENTS:
        raise InvalidInput(f"{len(forms)} events in one request", f"Send at most {MAX_EVENTS} at a time")
    return [_event(index, form, settings, now) for index, form in enumerate(forms)]


def records_of(events: Sequence[Event]) -> list[Record]:
    """The events as the stream and the lake take them."""
    return [
        Record(
            event.event_id,
            event.user_id,
            event.item_id,
            event.event_type,
            round(event.timestamp.timestamp() * 1_000_000),
            event.value,
            event.session_id,
            event.device,
            event.scene,
            event.request_id,
            event.position,
        )
        for event in events
    ]


def encode(records: Sequence[Record] | Record) -> bytes:
    """The events as one entry of the stream carries them: JSON, so that any consumer can read it."""
    return _encode(records)


def decode(blob: bytes) -> tuple[list[Record], list[Refused]]:
    """The events that an entry of the stream carried, and whatever in it is none."""
    try:
        return _decode_records(blob), []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = str(error)
    try:
        parts = _split(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [], [Refused(blob, f"not a list of events: {whole}")]
    records, refused = [], []
    for part in parts:
        try:
            records.append(_decode_record(part))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refused.append(Refused(bytes(part), f"not an event: {error}"))
    return records, refused


def to_arrow(records: Sequence[Record]) -> pa.Table:
    """The events as a table in lake.EVENT_SCHEMA."""
    microseconds = pa.array([record.timestamp for record in records], pa.int64())
    columns_by_name = {
        field.name: microseconds.cast(field.type)
        if field.name == columns.TIMESTAMP
        else pa.array([getattr(record, field.name) for record in records], field.type)
        for field in EVENT_SCHEMA
    }
    return pa.table(columns_by_name, schema=EVENT_SCHEMA)


def _forms(body: bytes) -> list[EventForm]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", "Send one event object or a list of them") from error
    objects = document if isinstance(document, list) else [document]
    return [_form(index, fields) for index, fields in enumerate(objects)]


def _form(index: int, fields: Any) -> EventForm:
    try:
        return msgspec.convert(fields, EventForm)
    except msgspec.ValidationError as error:
        raise refusal(
            f"event {index}",
            fields,
            error,
            EventForm,
            required=REQUIRED,
            remedies=REMEDIES,
            otherwise=ID_REMEDY,
        ) from error


def _event(index: int, form: EventForm, settings: Settings, now: datetime) -> Event:
    try:
        settings.event_type(form.event_type)
    except InvalidInput as error:
        raise InvalidInput(f"event {index}: {error.problem}", error.remedy) from error
    if form.value is not None and not math.isfinite(form.value):
        raise InvalidInput(f"event {index}: value is {form.value}", REMEDIES["value"])
    return Event(
        form.event_id or uuid.uuid4().hex,
        form.user_id,
        form.item_id,
        form.event_type,
        _happened(index, form.timestamp, now),
        form.value,
        form.session_id,
        form.device,
        form.scene,
        form.request_id,
        form.position,
    )


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
