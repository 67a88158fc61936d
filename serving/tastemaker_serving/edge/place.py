"""Where the cache keeps a slate, and what it has there."""

from __future__ import annotations

from typing import NamedTuple

from tastemaker.metrics import CACHE
from tastemaker_serving import wire
from tastemaker_serving.edge.cache import Found, variant_of
from tastemaker_serving.edge.standing import Standing
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch


class Place(NamedTuple):
    """What a slate is kept as: its variant, the page that it is, and the version of the model that is to make it."""

    variant: str
    ahead: str | None
    """The variant of a slate that was computed ahead of requests, of which this one is the beginning."""
    page: int
    version: str


def place_of(query: wire.Query, page: int, version: str, hard: Standing | None) -> Place:
    """The place of a page.

    Args:
        version: of the model that is to make it.
        hard: the rules that are in force.
    """
    stamp = hard.stamp if hard is not None else ""
    ahead = None
    if page == 0 and hard is not None and hard.begins_alike:
        ahead = variant_of(version, query, rules=stamp, any_length=True)
    return Place(variant_of(version, query, page, stamp), ahead, page, version)


async def look_up(edge: Edge, watch: Stopwatch, query: wire.Query, place: Place, *, force_refresh: bool) -> Found:
    """What the cache has, counted as a hit or not; nothing where it does not answer."""
    found: Found | None = None
    variants = (place.variant,) if place.ahead is None else (place.variant, place.ahead)
    with watch.stage("cache"):
        found = await edge.cache.read(query.user_id, variants, query.scene, edge.cache_ttl_s(query.scene), query.n)
    if found is None:
        CACHE.labels("error").inc()
        return Found()
    if found.entry is None or force_refresh:
        CACHE.labels("miss").inc()
    else:
        CACHE.labels("hit" if found.fresh else "stale").inc()
    return found
