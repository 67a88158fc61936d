"""Candidate generation: every source is asked, what they propose is united, and what may not be shown is taken out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from tastemaker import retrieval
from tastemaker.candidates import LIVE, SOURCES, Candidates, Codes, Shares, no_codes
from tastemaker.decisions.drops import EXCLUDED, RETRIEVAL, SEEN, UNAVAILABLE, Drop
from tastemaker.retrieval import Heard, Wanted
from tastemaker_serving.stages import filters
from tastemaker_serving.stages.lives import Young

Ask = Callable[[Wanted, Mapping[int, int]], Awaitable[tuple[dict[int, Heard], list[str]]]]
"""Asks every source for so many items; what they say, and the names of those that failed or ran late."""


async def generate(
    ask: Ask, wanted: Wanted, shares: Sequence[Shares], limit: int, young: Young, gone: Codes | None = None
) -> Candidates:
    """At most `limit` candidates for each user, without those seen or excluded; for requests that name some, those.

    Args:
        shares: of the sources in the scenes that `wanted.scene` counts.
        young: takes away what outlived its scene.
        gone: items (G,) that are in no slate.

    Raises:
        Unavailable: every source failed or ran late.
    """
    heard, silent = await ask(wanted, retrieval.lengths(shares, wanted, limit))
    of_age, outlived = young(heard, wanted)
    proposed = retrieval.propose(of_age, shares, wanted, limit)
    if wanted.named is not None:
        proposed = wanted.named.instead_of(proposed)
    there = filters.drop_gone(proposed, no_codes() if gone is None else gone)
    unseen = filters.drop(there.kept, wanted.seen)
    allowed = filters.drop(unseen.kept, wanted.excluded)
    kept = allowed.kept
    dropped = (
        (
            *outlived,
            Drop(UNAVAILABLE, there.removed.codes),
            Drop(SEEN, unseen.removed.codes),
            Drop(EXCLUDED, allowed.removed.codes),
            Drop(RETRIEVAL, kept.codes[:, limit:]),
        )
        if wanted.traced
        else ()
    )
    found = retrieval.candidates(heard, kept.head(limit), dropped, silent)
    live = {SOURCES[source]: heard[source].proposed for source in LIVE if source in heard}
    return replace(found, live=live) if wanted.traced else found
