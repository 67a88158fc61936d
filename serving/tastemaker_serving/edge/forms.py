"""JSON bodies of one object: a struct per call checks them and documents them in OpenAPI."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from tastemaker.errors import InvalidInput

Form = TypeVar("Form", bound=msgspec.Struct)
_FIELD = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<place>.*)`)?$", re.DOTALL)


def _number(text: str) -> float:
    """JSON has one kind of numbers: 10.0 is the integer 10."""
    value = float(text)
    return int(value) if value.is_integer() else value


_decode = msgspec.json.Decoder(float_hook=_number).decode


def parse(body: bytes, kind: type[Form]) -> Form:
    """The form in a JSON body.

    Raises:
        InvalidInput: it is not JSON, a field is missing, unknown or of another kind; the message names it.
    """
    known = ", ".join(kind.__struct_fields__)
    try:
        return msgspec.convert(_decode(body), kind)
    except msgspec.ValidationError as error:
        found = _FIELD.match(str(error))
        assert found is not None
        place = f"{found['place']}: " if found["place"] else ""
        problem = found["problem"].replace("`", "'")
        raise InvalidInput(f"the body cannot be used: {place}{problem:.200}", f"Send an object of {known}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", f"Send an object of {known}") from error


def schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON schema of a form of plain fields, as OpenAPI takes it."""
    described: dict[str, Any] = msgspec.json.schema(kind)["$defs"][kind.__name__]
    return described
