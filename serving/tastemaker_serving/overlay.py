"""What became of the catalogue since the bundle, in one replica of a model.

Codes below `Roster.bundled` are the bundle's: every replica of a version means the same items by them. New items get
the codes behind these, as this replica comes to know them. Such codes are its own: between replicas they travel with
the keys of their items (`Parcel`), and a receiver that does not know an item yet takes its code for padding. So
replicas that saw different versions of the catalogue may lack an item for a second, but never take it for another.

A thread follows the log. Tables grow behind the rows that are being read (`growing`), and what a request computes with
is replaced as a whole, by one reference, when everything is in its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, singledispatch
from typing import Any, Final, Generic, TypeVar

import numpy as np
import pyarrow.compute as pc
from redis import Redis, RedisError

from tastemaker import columns
from tastemaker.bundle import Bundle
from tastemaker.candidates import Candidates, Codes
from tastemaker.catalogue.log import ItemChange
from tastemaker.catalogue.log import items as item_log
from tastemaker.catalogue.tables import ITEM_SCHEMA
from tastemaker.changes.log import Change
from tastemaker.changes.tables import to_arrow, version_of
from tastemaker.features.kin import Floats, Kin, Relations
from tastemaker.features.tower_inputs import KeyIndex
from tastemaker.ids import Keys, keys_of
from tastemaker.retrieval import Wanted
from tastemaker.types import Item
from tastemaker_serving.pipeline import ToRank

LOOK_S: Final = 0.5
SOCKET_TIMEOUT_S: Final = 2.0
NOBODY: Final = np.empty(0, dtype=np.uint64)
T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Roster:
    """Who has which code in this replica."""

    bundled: int
    index: KeyIndex
    strangers: Keys = field(
        default_factory=NOBODY.copy
    )  # of the items behind the bundle's, in the order of their codes

    def recode(self, codes: Codes, keys: Keys) -> Codes:
        """The own codes of codes that came with `keys`; -1 for items that are unknown here."""
        if not (codes >= self.bundled).any():
            return codes
        own = np.append(self.index.find(keys), np.int32(-1))
        return np.where(codes < self.bundled, codes, own[np.clip(codes - self.bundled, 0, len(keys))])


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """What goes to another replica; codes from the bundle's last on count its `keys`."""

    content: T
    keys: Keys

    @classmethod
    def of(cls, content: T, roster: Roster) -> Parcel[T]:
        """Pack `content`. Its codes stay as they are, with the keys of all new items that are known here."""
        return cls(content, roster.strangers)

    def unpacked(self, roster: Roster) -> T:
        """The content in the codes of the receiver."""
        content: T = recoded(self.content, lambda codes: roster.recode(codes, self.keys))
        return content


Recode = Callable[[Codes], Codes]


@singledispatch
def recoded(content: Any, recode: Recode) -> Any:
    """`content` with every array of item codes replaced."""
    raise NotImplementedError(type(content))


@recoded.register
def _(content: Wanted, recode: Recode) -> Wanted:
    return replace(
        content,
        history=recode(content.history),
        seen=recode(content.seen),
        excluded=recode(content.excluded),
        named=None if content.named is None else replace(content.named, codes=recode(content.named.codes)),
    )


@recoded.register
def _(content: Candidates, recode: Recode) -> Candidates:
    dropped = tuple(replace(drop, codes=recode(drop.codes)) for drop in content.dropped)
    explored = None if content.explored is None else replace(content.explored, codes=recode(content.explored.codes))
    live = {source: recode(codes) for source, codes in content.live.items()}
    return replace(content, codes=recode(content.codes), dropped=dropped, explored=explored, live=live)


@recoded.register
def _(content: ToRank, recode: Recode) -> ToRank:
    return replace(content, candidates=recoded(content.candidates, recode))


@dataclass(frozen=True)
class Update:
    """What one look at the log brought to this replica."""

    added: Sequence[str]  # ids of the items that got the next codes
    items: Mapping[int, Item]  # by code, what changed and new items are now
    codes: Codes  # (M,) of those that the bundle has no rows of
    kin: Kin | None  # of the same, None for M = 0
    gone: Codes  # (G,) all that are in no slate, ascending
    roster: Roster  # of all items that have codes now
    content: Callable[[], Floats]  # what the `items` are about, in their order (len(items), C)


class Overlay:
    """Follows the log for one replica.

    Args:
        adopt: puts an update in its place; called by one thread at a time.
    """

    def __init__(self, redis_url: str, opened: Bundle, adopt: Callable[[Update], None]) -> None:
        self._redis = Redis.from_url(
            redis_url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S
        )
        self._relations = Relations.of(opened)
        self._adopt = adopt
        items = opened.items()
        self._version = version_of(items)
        self.roster = Roster(items.num_rows, KeyIndex.of(items[columns.ITEM_ID].to_pylist()))
        unavailable = pc.invert(pc.fill_null(items[columns.AVAILABLE], True)).to_numpy()
        self._gone = set(np.flatnonzero(unavailable).tolist())
        if self._gone:
            self._tell([], {}, self.roster)
        self._fails = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="catalogue", daemon=True)

    def start(self) -> None:
        """Look once, where Redis answers, and go on looking."""
        self._try_to_refresh()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()
        self._redis.close()

    def refresh(self) -> None:
        """Look at the log once. Raises redis.RedisError where it cannot be read; what was read is in place."""
        more = True
        while more:
            page = item_log.read(self._redis, self._version)
            if page.changes:
                self._take_in(page.changes)
            self._version, more = page.version, page.is_full

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self._try_to_refresh()

    def _try_to_refresh(self) -> None:
        try:
            self.refresh()
        except Exception as error:
            if not self._fails:
                foreseen = isinstance(error, (RedisError, OSError))
                log.warning("changes of the catalogue are not taken in: %s", error, exc_info=not foreseen)
            self._fails = True
        else:
            self._fails = False

    def _take_in(self, changes: Sequence[ItemChange]) -> None:
        roster = self.roster
        there = [change for change in changes if change.document is not None]
        known = roster.index.find(keys_of([change.id for change in there]))
        added = [change.id for change, code in zip(there, known.tolist(), strict=True) if code < 0]
        first = roster.bundled + len(roster.strangers)
        if added:
            strangers = np.concatenate([roster.strangers, keys_of(added)])
            roster = replace(roster, index=roster.index.extended(added, first), strangers=strangers)
        codes = roster.index.find(keys_of([change.id for change in changes]))
        items: dict[int, Item] = {}
        for change, code in zip(changes, codes.tolist(), strict=True):
            if change.document is not None:
                items[code] = change.document
            if code >= 0:
                is_there = change.document is not None and change.document.available
                (self._gone.discard if is_there else self._gone.add)(code)
        self._tell(added, items, roster)
        self.roster = roster  # after the model, which thus knows every code that the roster gives

    def _tell(self, added: Sequence[str], items: Mapping[int, Item], roster: Roster) -> None:
        new = {code: item for code, item in items.items() if code >= roster.bundled}
        codes, gone = np.fromiter(new, dtype=np.int32), np.array(sorted(self._gone), dtype=np.int32)
        kin = self._relations.kin(self._content_of(new)) if new else None
        self._adopt(Update(added, items, codes, kin, gone, roster, partial(self._content_of, items)))

    def _content_of(self, items: Mapping[int, Item]) -> Floats:
        return self._relations.content_of(
            to_arrow([Change(0, item.item_id, item) for item in items.values()], ITEM_SCHEMA)
        )


def without_strangers(asked: ToRank, roster: Roster) -> ToRank:
    """For a ranker that follows no log: what it does not know is padding."""
    if not len(roster.strangers):
        return asked
    known: ToRank = recoded(asked, lambda codes: np.where(codes < roster.bundled, codes, np.int32(-1)))
    return known
