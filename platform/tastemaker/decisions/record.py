"""What is logged of one slate: the request, what the models were given, what they made of it, and what was shown.

C candidates, S signals, P profile width.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from tastemaker.decisions.sampling import Detail
from tastemaker.preferences import Preferences

Floats = npt.NDArray[np.float32]


class Dropped(msgspec.Struct, frozen=True):
    """Items that one stage took away; see `drops.Drop`. `values` run beside `item_ids`, or are empty."""

    stage: str
    item_ids: list[str]
    values: list[float] = []
    why: str = ""


class Trace(msgspec.Struct, frozen=True):
    """What the models were given for one slate, and what they made of it. Bytes are little-endian arrays.

    The candidates stand as the ranker ordered them, best first; where it did not answer, as retrieval did.
    """

    query: bytes
    """What the edge asked: `tastemaker_serving.wire.Query`, in msgpack."""
    now: int
    """Seconds since 1970: the time of the request as the models knew it."""
    trail: bytes
    """`features.trail.RECORD`s, oldest first."""
    profile: bytes
    """float32 (P,)."""
    candidates: list[str]
    """Item ids (C)."""
    sources: list[str]
    """Names of the sources that proposed them (C)."""
    scores: bytes
    """float32 (C): the ranker's, or else the two-tower product."""
    signal_names: list[str]
    """S, in the order of `signals`."""
    signals: bytes
    """float32 (S, C): what each source says of each candidate, whoever proposed it."""
    ranked: int
    """How many of the candidates went on to re-ranking, from the first on."""
    dropped: list[Dropped]
    slate: list[str]
    """Item ids, as the models answered; the edge may have topped it up."""
    live: dict[str, list[str]] = {}
    """Item ids that the sources proposed which change by the minute, by source; an empty id is padding."""
    country: str | None = None
    """Of the user, as the models knew it."""
    preferences: Preferences | None = None
    """What a user with few events said they like."""

    def scores_of(self) -> Floats:
        """The scores (C)."""
        return np.frombuffer(self.scores, np.float32)

    def signals_of(self) -> Floats:
        """The signals (S, C)."""
        return np.frombuffer(self.signals, np.float32).reshape(len(self.signal_names), len(self.candidates))


class Shown(msgspec.Struct, frozen=True):
    """One place of the slate. `propensity`: the probability that it came there; None where chance had no part."""

    item_id: str
    score: float
    source: str
    reason: str
    propensity: float | None = None


class Decision(msgspec.Struct, frozen=True):
    """One slate, and what it was made of.

    `time` is when it was answered, in seconds since 1970. `routing` names the routing document that was followed.
    `origin`, of a slate from the cache, is the request that computed it. `trace` is None without full detail.
    """

    request_id: str
    user_id: str
    scene: str
    time: float
    n: int
    device: str | None
    exclude: list[str]
    colour: str
    routing: str
    experiments: dict[str, str]
    model_version: str
    served_from: str
    degraded: list[str]
    stage_ms: dict[str, float]
    items: list[Shown]
    origin: str = ""
    trace: Trace | None = None

    @property
    def detail(self) -> Detail:
        """How much of it is here."""
        return "slate" if self.trace is None else "full"

    def computed_by(self, origin: Decision | None) -> Decision:
        """The same with the trace of the request that computed it, where that is known."""
        return self if origin is None else structs.replace(self, trace=origin.trace)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Decision).decode
