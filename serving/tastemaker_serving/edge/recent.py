"""What a scene showed a user lately: it sinks in the next slate, and does not come again on further pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from tastemaker.scenes import Repetition
from tastemaker_serving.wire import Query

MAX_PAGE: Final = 9
"""The last page, counted from 0. Whoever goes further looks for something: that is what search is for."""
REMEMBERED: Final = MAX_PAGE + 1
"""Slates that are remembered at most."""


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A slate that was shown as this page."""

    page: int
    item_ids: list[str]


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Shown, ...]).decode


def decode(blob: bytes | None) -> tuple[Shown, ...]:
    """What Redis holds, newest first; nothing where another version wrote it in another form."""
    try:
        return () if blob is None else _decode(blob)
    except msgspec.DecodeError:
        return ()


def with_new(shown: Sequence[Shown], page: int, item_ids: list[str], slates: int) -> list[Shown]:
    """What to remember now: the newest `slates`, and beyond them the newest of each page."""
    kept: list[Shown] = []
    pages: set[int] = set()
    for slate in (Shown(page, item_ids), *shown):
        if len(kept) < slates or slate.page not in pages:
            kept.append(slate)
        pages.add(slate.page)
    return kept[:REMEMBERED]


def is_last(shown: Sequence[Shown], page: int, item_ids: list[str]) -> bool:
    """Whether this slate is the newest that is remembered of the page."""
    return next((slate.item_ids for slate in shown if slate.page == page), None) == item_ids


def was_shown(shown: Sequence[Shown], item_ids: list[str]) -> bool:
    """Whether this slate is among those remembered."""
    return any(slate.item_ids == item_ids for slate in shown)


class Asked(NamedTuple):
    """What the models are asked for a page: `query`, of whose answer the first `skipped` items are of earlier pages."""

    query: Query
    skipped: int


def on_page(query: Query, page: int, shown: Sequence[Shown], repetition: Repetition) -> Asked:
    """`query` without what the pages before `page` showed, as far as that is known; the rest of them is skipped."""
    before = dict(_newest_of_each(shown, page))
    skipped = query.n * (page - len(before))
    asked = structs.replace(
        query,
        n=query.n + skipped,
        exclude=[*query.exclude, *(item_id for item_ids in before.values() for item_id in item_ids)],
        shown=[slate.item_ids for slate in shown[: repetition.slates]] if repetition.discount else [],
    )
    return Asked(asked, skipped)


def _newest_of_each(shown: Sequence[Shown], page: int) -> Iterator[tuple[int, list[str]]]:
    """The newest slate of each page before `page`."""
    return ((slate.page, slate.item_ids) for slate in reversed(shown) if slate.page < page)
