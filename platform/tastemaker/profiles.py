"""What a user's account says of them, online under `tm:{user}:profile`, and in the lake for the next training.

The edge writes it (`PUT /v1/users/{id}`), the Recommender reads it for users of whom no event is known:
`await profiles.records.read(redis, user_ids)`. On its way to the lake it lies in a log (`tm:users:{profiles}:*`), which
the ingest worker empties.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from redis.asyncio import Redis

from tastemaker.changes.log import ChangeLog
from tastemaker.events.schema import Instant
from tastemaker.user_records import UserRecords

Country = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Profile(msgspec.Struct, frozen=True):
    """Each may be unknown. The lake's users have these columns."""

    country: Country | None = None
    created_at: Instant | None = None


records: Final = UserRecords("profile", Profile)
changes: Final = ChangeLog("tm:users:{profiles}", "profiles", Profile)


async def put(redis: Redis, user_id: str, profile: Profile) -> None:
    """Replace the user's profile, online and, within seconds, in the lake.

    Raises:
        redis.RedisError: Redis did not take it; putting it again does the rest.
    """
    # The log first: an erasure that comes between the two outdates it there.
    await changes.publish(redis, {user_id: profile})
    await records.write(redis, user_id, profile)
