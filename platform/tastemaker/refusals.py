"""How a JSON object that does not fit its form is refused: by place, field and value, with what to send instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tastemaker.errors import InvalidInput

LONGEST = 80
_FIELD = re.compile(r"(?:field `(?P<named>.*?)`|at `\$\.(?P<at>\w+))", re.DOTALL)


def refusal(
    place: str,
    fields: Any,
    error: msgspec.ValidationError,
    form: type[msgspec.Struct],
    *,
    required: Sequence[str],
    remedies: Mapping[str, str],
    otherwise: str,
) -> InvalidInput:
    """msgspec's complaint about `fields`, which are no `form`, with the value it is about and a remedy.

    Args:
        place: which object it is, such as `event 3`.
        required: names of the fields that an object must have.
        remedies: by field; `otherwise` is that of all others.
    """
    if not isinstance(fields, dict):
        return InvalidInput(f"{place}: {shown(fields)} is not an object", f"Send {', '.join(required)}")
    found = _FIELD.search(str(error))
    field = (found["named"] or found["at"]) if found else ""
    if field not in form.__struct_fields__:
        known = ", ".join(form.__struct_fields__)
        return InvalidInput(f"{place}: unknown field {shown(field)}", f"Known fields are {known}")
    remedy = remedies.get(field, otherwise)
    if field not in fields:
        return InvalidInput(f"{place}: {field} is missing", remedy)
    return InvalidInput(f"{place}: {field} is {shown(fields[field])}", remedy)


def shown(value: Any) -> str:
    """A value in an error: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
