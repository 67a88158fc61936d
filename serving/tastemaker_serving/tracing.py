"""The trace of one slate, for the decision log: codes become item ids, which outlive the bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tastemaker.candidates import SOURCES, Codes
from tastemaker.decisions.drops import RANKING, Drop
from tastemaker.decisions.record import Dropped, Trace
from tastemaker.features import trail
from tastemaker.features.cross import SIGNALS
from tastemaker_serving.pipeline import Chosen, Requests
from tastemaker_serving.wire import Query, encode_query


def trace_of(chosen: Chosen, requests: Requests, row: int, query: Query, item_ids: Sequence[str], keep: int) -> Trace:
    """How the slate of request `row` came about, whose `query` it was.

    Args:
        chosen: of requests that were traced.
        item_ids: of the catalogue, in code order.
        keep: `funnel.ranked`.
    """
    traced = chosen.traced
    assert traced is not None
    candidates = traced.candidates
    places = _real(traced.ranked.places[row])
    codes = candidates.codes[row, places]
    unranked = np.setdiff1d(np.flatnonzero(candidates.codes[row] >= 0), places)
    drops = [_dropped(drop, row, item_ids) for drop in traced.dropped]
    beyond = Dropped(RANKING, _ids(candidates.codes[row, unranked], item_ids))
    return Trace(
        query=encode_query(query),
        now=requests.now,
        trail=trail.encode(requests.trails[row]),
        profile=requests.profiles[row].tobytes(),
        candidates=_ids(codes, item_ids),
        sources=[SOURCES[source] for source in candidates.source[row, places].tolist()],
        scores=traced.ranked.scores[row, : len(places)].tobytes(),
        signal_names=list(SIGNALS),
        signals=candidates.signals[:, row, places].tobytes(),
        ranked=min(keep, len(places)),
        dropped=[drop for drop in (*drops, beyond) if drop.item_ids],
        live={
            source: [item_ids[code] if code >= 0 else "" for code in codes[row].tolist()]
            for source, codes in candidates.live.items()
        },
        country=requests.people[row].country if requests.people else None,
        preferences=requests.said.get(row),
        slate=_ids(_real(chosen.codes[row, : query.n]), item_ids),
    )


def _dropped(drop: Drop, row: int, item_ids: Sequence[str]) -> Dropped:
    real = drop.codes[row] >= 0
    values = [] if drop.values is None else drop.values[row, real].tolist()
    return Dropped(drop.stage, _ids(drop.codes[row, real], item_ids), values, drop.why)


def _ids(codes: Codes, item_ids: Sequence[str]) -> list[str]:
    return [item_ids[code] for code in codes.tolist()]


def _real(places: Codes) -> npt.NDArray[np.int32]:
    return places[places >= 0]
