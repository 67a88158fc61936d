"""Items that the edge has found itself, put into the order of text match or likeness and a user's taste."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from tastemaker_serving import wire
from tastemaker_serving.edge import ladder
from tastemaker_serving.edge.ladder import Pick, Rung
from tastemaker_serving.edge.recommend import rank
from tastemaker_serving.edge.state import Edge
from tastemaker_serving.edge.stopwatch import Stopwatch


async def rank_named(
    edge: Edge, watch: Stopwatch, query: wire.Query, picks: Sequence[Pick], deadline: float
) -> list[Rung]:
    """The best `funnel.ranked` of `picks` in the order that the models give them for the user; no rung without them."""
    if not picks:
        return []
    best = picks[: edge.settings.serving.funnel.ranked]
    item_ids, scores = [pick.item_id for pick in best], [pick.score for pick in best]
    named = structs.replace(query, candidates=item_ids, candidate_scores=scores)
    answer = await rank(edge, watch, named, deadline)
    return [] if answer is None else [(answer.slate.served_from, ladder.personal(answer.slate, best))]
