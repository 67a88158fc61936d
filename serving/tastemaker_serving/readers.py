"""What the Recommender reads for a whole batch: the users' trails and their feature rows, side by side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tastemaker import preferences
from tastemaker import profiles as user_profiles
from tastemaker.candidates import Floats
from tastemaker.errors import TastemakerError
from tastemaker.features import trail
from tastemaker.features.profile import profile_matrix, profile_width
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile

if TYPE_CHECKING:
    from tastemaker.features.store import Features

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Reader:
    """Reads that fail or run late are answered with nothing, and named."""

    redis: Redis
    features: Features
    categories: int  # G, length of the bundle's vocabulary
    budget_s: float

    async def read(self, user_ids: Sequence[str]) -> tuple[list[trail.Trail], Floats, list[str]]:
        """Trails, profiles (B, P), and the names of the reads that failed (`trails`, `features`)."""
        trails, profiles = await asyncio.gather(
            self._bounded("trails", trail.read(self.redis, user_ids)),
            self._bounded("features", asyncio.to_thread(self._profiles, user_ids)),
        )
        degraded = [name for name, found in (("trails", trails), ("features", profiles)) if found is None]
        return (
            [trail.decode(None)] * len(user_ids) if trails is None else trails,
            unknown_profiles(len(user_ids), self.categories) if profiles is None else profiles,
            degraded,
        )

    async def introductions(self, user_ids: Sequence[str]) -> tuple[list[Preferences], list[Profile], list[str]]:
        """What newcomers told of themselves, and the names of the reads that failed (`preferences`)."""
        found = await self._bounded(
            "preferences",
            asyncio.gather(
                preferences.records.read(self.redis, user_ids), user_profiles.records.read(self.redis, user_ids)
            ),
        )
        if found is None:
            return [Preferences()] * len(user_ids), [Profile()] * len(user_ids), ["preferences"]
        return *found, []

    def _profiles(self, user_ids: Sequence[str]) -> Floats:
        return profile_matrix(self.features.online_users(user_ids), self.categories)

    async def _bounded(self, name: str, reading: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(self.budget_s):
                return await reading
        except (TimeoutError, RedisError, OSError, TastemakerError) as error:
            log.warning("%s could not be read: %r", name, error)
            return None


def unknown_profiles(rows: int, categories: int) -> Floats:
    """Profiles (B, P) of users of whom nothing is known: the flag `missing` and zeros."""
    profiles = np.zeros((rows, profile_width(categories)), dtype=np.float32)
    profiles[:, 0] = 1.0
    return profiles
