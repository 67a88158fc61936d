"""Lists of items that are not one user's slate, such as what is found or trends: they are decisions as well."""

from __future__ import annotations

from tastemaker.metrics import SLATES
from tastemaker.types import ServedFrom, Slate, SlateItem
from tastemaker_serving import wire
from tastemaker_serving.edge.decisions import decision_of
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch


def note_list(
    edge: Edge,
    query: wire.Query,
    served_from: ServedFrom,
    items: tuple[SlateItem, ...],
    model_version: str,
    watch: Stopwatch,
) -> None:
    """Count and log what is answered to `query`; of a known user's list, the rollout's measurement hears as well.

    As large a share is logged as of the slates of its scene, always without a trace.
    """
    SLATES.labels(served_from, query.scene).inc()
    if edge.colours.routing is not None and query.user_id:
        colour = edge.colours.target_of(query.user_id).colour
        edge.colours.meter.shown(colour, query.user_id, [item.item_id for item in items])
    if edge.decisions.detail_of(query.scene) is None or edge.colours.routing is None:
        return
    degraded = tuple(dict.fromkeys(watch.degraded))
    slate = Slate(
        query.request_id,
        query.user_id,
        query.scene,
        items,
        model_version,
        served_from,
        degraded=degraded,
        stage_ms=watch.stage_ms,
    )
    colour = edge.colours.target_of(query.user_id or query.request_id).colour
    edge.decisions.note(decision_of(query, slate, colour, edge.colours.routing_digest))
