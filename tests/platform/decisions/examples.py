"""A decision with one item of each fate."""

from __future__ import annotations

import numpy as np

from tastemaker.decisions.drops import CAPS, EXCLUDED, RETRIEVAL, RULES, SEEN, UNAVAILABLE
from tastemaker.decisions.record import Decision, Dropped, Shown, Trace
from tastemaker.features import trail
from tastemaker.ids import key_of
from tastemaker.preferences import Preferences

NOW = 1_800_000_000
CANDIDATES = [f"c{number}" for number in range(6)]


def trace() -> Trace:
    """Six candidates c0 … c5 in ranked order, of which four went on; the newest liked them least."""
    history = np.array([(key_of("had"), NOW - 60, 1.0), (key_of("old"), NOW - 30, -0.5)], trail.RECORD)
    return Trace(
        query=b"query",
        now=NOW,
        trail=trail.encode(history),
        profile=np.arange(3, dtype=np.float32).tobytes(),
        candidates=CANDIDATES,
        sources=["two-tower", "als", "als", "two-tower", "popular", "popular"],
        scores=np.linspace(0.5, 0.0, 6, dtype=np.float32).tobytes(),
        signal_names=["two_tower", "als"],
        signals=np.array([[3, 1, 1, 2, 0, 0], [0, 5, 4, 0, 0, 0]], np.float32).tobytes(),
        ranked=4,
        dropped=[
            Dropped(SEEN, ["had"]),
            Dropped(EXCLUDED, ["no"]),
            Dropped(UNAVAILABLE, ["went"]),
            Dropped(RETRIEVAL, ["late"]),
            Dropped(RULES, ["banned"], why="no horror"),
            Dropped(CAPS, ["c2"], why="at most 3 of one category"),
            Dropped("quality", ["c4"], [0.5], why="blurred"),
        ],
        slate=["c1", "c0", "gone"],
        live={"trending": ["c1", "late", ""]},
        country="DE",
        preferences=Preferences(("Drama",), ("had",)),
    )


def decision(request_id: str = "r1", traced: Trace | None = None, **changes: object) -> Decision:
    """A slate of two candidates and an item of a later rung."""
    fields: dict[str, object] = {
        "request_id": request_id,
        "user_id": "7",
        "scene": "home",
        "time": NOW + 0.5,
        "n": 3,
        "device": None,
        "exclude": ["no", "never"],
        "colour": "blue",
        "routing": "8c1f",
        "experiments": {"layout": "b"},
        "model_version": "tastemaker/1",
        "served_from": "ranked",
        "degraded": [],
        "stage_ms": {"ray": 20.5, "cache": 0.5},
        "items": [
            Shown("c1", 0.4, "als", "Because you liked Had"),
            Shown("c0", 0.5, "two-tower", "Matches your taste", 0.25),
            Shown("p", 1.0, "popular", "Popular with everyone"),
        ],
        "trace": traced,
    }
    return Decision(**(fields | changes))  # type: ignore[arg-type]
