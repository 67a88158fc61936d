"""What is logged of one slate: the request, what the models were given, what they made of it, and what was shown.

C candidates, S signals, P profile width.
"""

from __future__ import annotations

import msgspec


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
    dropped: list[Dropped] = []
