from __future__ import annotations

import numpy as np

from tastemaker.candidates import Candidates
from tastemaker.decisions.drops import EXCLUDED, RANKING, Drop
from tastemaker.features import trail
from tastemaker.features.cross import SIGNALS
from tastemaker_serving.pipeline import Chosen, Requests, Traced
from tastemaker_serving.stages.rank import Ranked
from tastemaker_serving.tracing import trace_of
from tastemaker_serving.wire import Query, decode_query

IDS = [f"i{code}" for code in range(10)]


def codes(*rows: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.array(rows, np.int32)


def test_a_trace_names_items_in_ranked_order_with_their_signals() -> None:
    signals = np.arange(len(SIGNALS) * 2 * 4, dtype=np.float32).reshape(len(SIGNALS), 2, 4)
    dropped = (
        Drop(EXCLUDED, codes([-1, -1], [8, 9]), np.array([[0, 0], [3, 4]], np.float32)),
        Drop("rule", codes([-1], [-1]), why="no horror"),
    )
    source = np.array([[0, 0, 0, 0], [0, 1, 2, 0]], np.uint8)
    candidates = Candidates(codes([0, 1, 2, 3], [4, 5, 6, 7]), source, signals, dropped)
    ranked = Ranked(codes([0, 1, 2], [2, 0, -1]), np.array([[3, 2, 1], [0.5, 0.25, -np.inf]], np.float32))
    profiles = np.array([[1, 2], [3, 4]], np.float32)
    history = np.zeros(1, trail.RECORD)
    asked = Requests(
        ["a", "b"],
        [history[:0], history],
        profiles,
        codes([-1], [-1]),
        1_800_000_000,
        [2, 2],
        ["home"] * 2,
        traced=True,
    )

    slates = codes([0, 1, 2], [6, -1, -1])
    nothing = np.zeros(slates.shape, np.float32)
    chosen = Chosen(
        codes=slates,
        scores=nothing,
        source=nothing.astype(np.uint8),
        because=slates,
        segment=slates[:, 0],
        served_from=["ranked"] * 2,
        degraded=[],
        traced=Traced(candidates, ranked, dropped),
    )
    query = Query("r1", "b", "home", None, 2, traced=True)

    trace = trace_of(chosen, asked, 1, query, IDS, keep=1)

    assert decode_query(trace.query) == query
    assert trace.slate == ["i6"]

    assert (trace.candidates, trace.sources) == (["i6", "i4"], ["als", "two-tower"])
    assert np.frombuffer(trace.scores, np.float32).tolist() == [0.5, 0.25]
    assert np.frombuffer(trace.signals, np.float32).reshape(-1, 2)[1].tolist() == signals[1, 1, [2, 0]].tolist()
    assert np.frombuffer(trace.profile, np.float32).tolist() == [3, 4]
    assert (trace.ranked, trace.now, trail.decode(trace.trail).tolist()) == (1, 1_800_000_000, history.tolist())
    assert [(drop.stage, drop.item_ids, drop.values) for drop in trace.dropped] == [
        (EXCLUDED, ["i8", "i9"], [3, 4]),
        (RANKING, ["i5", "i7"], []),
    ]
