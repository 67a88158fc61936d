"""What a user's account says of them, online under `tm:{user}:profile`.

The edge writes it (`PUT /v1/users/{id}`), the Recommender reads it for users of whom no event is known:
`await profiles.records.read(redis, user_ids)`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from tastemaker.events.schema import Instant
from tastemaker.user_records import UserRecords

Country = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Profile(msgspec.Struct, frozen=True):
    """Each may be unknown. `country` is spelt as in the lake's users."""

    country: Country | None = None
    created_at: Instant | None = None


records: Final = UserRecords("profile", Profile)
