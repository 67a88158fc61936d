"""What a user with few events said of themselves, for the rungs of the ladder that the edge makes alone.

Where the models answer they know it themselves (`stages.newcomers`).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np

from tastemaker import preferences, profiles
from tastemaker.features import trail as trails
from tastemaker.features.trail import Trail
from tastemaker.preferences import Preferences
from tastemaker.profiles import Profile
from tastemaker_serving.edge import ladder
from tastemaker_serving.edge.shelf import Shelf
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch
from tastemaker_serving.stages.newcomers import FEW


class Introduced(NamedTuple):
    """What the edge knows of who asks."""

    trail: Trail
    """Their events; before these, as if just liked, the items that a newcomer named."""
    categories: tuple[str, ...] = ()
    """Those that a newcomer named."""
    country: str | None = None

    def strongest(self, shelf: Shelf) -> list[str]:
        """The categories of the shelf that speak for them, strongest first, at most `ladder.CATEGORIES`."""
        named = (name for name in self.categories if name in shelf.popular_in)
        return list(dict.fromkeys([*named, *ladder.strongest_categories(shelf, self.trail)]))[: ladder.CATEGORIES]


async def introduced(edge: Edge, watch: Stopwatch, user_id: str, trail: Trail) -> Introduced:
    """The user of this trail; only newcomers are asked for what they said."""
    if len(trail) >= FEW or "trail" in watch.degraded:
        return Introduced(trail)
    said, profile = Preferences(), Profile()
    with watch.stage("preferences"):
        async with asyncio.timeout_at(watch.end):
            with edge.redis_breaker:
                (said,), (profile,) = await asyncio.gather(
                    preferences.records.read(edge.redis, [user_id]), profiles.records.read(edge.redis, [user_id])
                )
    liked = np.concatenate([trails.of_items(said.items, 0), trail])
    return Introduced(liked, said.categories, profile.country)
