"""What a user said they like, before any event tells: categories and items, online under `tm:{user}:preferences`.

The edge writes them (`PUT /v1/users/{id}/preferences`), the Recommender reads them for users with few events:
`await preferences.records.read(redis, user_ids)`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from tastemaker.events.schema import Id
from tastemaker.user_records import UserRecords

MAX_LIKED: Final = 100
"""Of each kind: whoever likes everything has said nothing."""

Liked = Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_LIKED)]


class Preferences(msgspec.Struct, frozen=True):
    """Names of categories and ids of items that a user likes, in no order; some may be outside a bundle's catalogue."""

    categories: Liked = ()
    items: Liked = ()


records: Final = UserRecords("preferences", Preferences)
