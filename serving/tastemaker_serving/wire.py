"""What the edge and Ray Serve say to one another: msgpack over HTTP, one POST per micro-batch.

The edge posts `list[Query]` to `PATH`; the answer is one `Batch` whose slates are in the order of the queries.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tastemaker.decisions.record import Trace
from tastemaker.types import ServedFrom

PATH: Final = "/recommend"
CONTENT_TYPE: Final = "application/msgpack"

PINNED: Final = "pinned"
"""The source of items that a business rule put in their place."""
PINNED_REASON: Final = "Chosen by the editors"


class Query(msgspec.Struct, frozen=True):
    """One user's request for `n` items. Items in `exclude` are left out, as are those already seen.

    A visitor who is no user has an empty `user_id`. `history` is what somebody took to in this session, oldest first,
    beside what is known of them. `traced` asks for `RankedSlate.trace`. `candidates`, at most `funnel.ranked` of them,
    take the place of retrieval: the slate has only these, seen or not, by their `candidate_scores` (any scale, one
    each) and the user's taste. `traceparent` is the W3C header of the request's OpenTelemetry trace. `shown` holds the
    items of the user's last slates, newest first.
    """

    request_id: str
    user_id: str
    scene: str
    device: str | None
    n: int
    exclude: list[str] = []
    traced: bool = False
    country: str | None = None
    candidates: list[str] = []
    candidate_scores: list[float] = []
    traceparent: str = ""
    history: list[str] = []
    shown: list[list[str]] = []


class RankedSlate(msgspec.Struct, frozen=True):
    """The answer to one query; the four lists run side by side, best first, at most `n` long.

    `segment` is the category of the user's strongest affinity, None when nothing is known of the user.
    `degraded` names the stages that failed or ran late for this user. `propensities` are the probabilities with which
    each item came to its place, where chance had a part in it; empty means that it had none.
    """

    item_ids: list[str]
    scores: list[float]
    sources: list[str]
    reasons: list[str]
    served_from: ServedFrom
    degraded: list[str] = []
    segment: str | None = None
    propensities: list[float] = []
    trace: Trace | None = None

    def chances(self) -> dict[str, float]:
        """The propensities by item."""
        return dict(zip(self.item_ids, self.propensities, strict=False))


class Batch(msgspec.Struct, frozen=True):
    """The answers to one POST. `stage_ms` is wall time by stage, in milliseconds, for the batch as a whole."""

    model_version: str
    slates: list[RankedSlate]
    stage_ms: dict[str, float] = {}
    degraded: list[str] = []


encode_queries = msgspec.msgpack.Encoder().encode
decode_queries = msgspec.msgpack.Decoder(list[Query]).decode
encode_query = msgspec.msgpack.Encoder().encode
decode_query = msgspec.msgpack.Decoder(Query).decode
encode_batch = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch).decode
