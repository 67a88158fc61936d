"""Following the events of an installation: a ranker of its clicks that is always up to date, and asked meanwhile.

All times are the events' own: it is as late as the newest event says. So what it answers does not depend on when it
read the events, and a log that is replayed faster than it happened is answered as it was.

Every click that goes on with a session is, before it counts, a request that the ranker might have had; some of them
become its examples. So it learns whoever is asked, and followers of one stream come to the same.

N articles, n clicks, B requests, L history, k places.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tastemaker import columns
from tastemaker.attributes import Attributes
from tastemaker.candidates import Codes
from tastemaker.clickstream.clicks import Articles, Clicks, Requests
from tastemaker.clickstream.decay import Ints
from tastemaker.clickstream.ranker import StreamRanker, StreamRecipe
from tastemaker.clickstream.state import StreamState
from tastemaker.event_types import EventType
from tastemaker.features.tower_inputs import SESSION_GAP_S
from tastemaker.ids import key_of, keys_of

TICK: Final = 10.0  # seconds of events that are taken in together
MOST_EXAMPLES: Final = 64  # of one tick; beyond that more would not make it better, only slower
DEVICES: Final = 32  # kinds of devices that are told apart, those that came first
EVENTS_KNOWN: Final = 500_000  # newest, of which a repetition does not count
SPARE: Final = 4096  # rows for new articles that are made at a time


@dataclass(frozen=True)
class Asked:
    """B requests, as serving knows them."""

    history: Codes  # (B, L) newest last, -1 is padding
    time: npt.NDArray[np.uint32]  # (B, L) seconds since 1970
    devices: Sequence[str | None]  # B
    life: float  # see `Requests.life`


class Sessions:
    """What the sessions that are open have had: by their ids, or without one by reader and pause."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[float, int, list[int]]] = {}

    def go_on(self, key: int, user: int, item: int, time: float) -> Ints:
        """Add a click of a reader to a session; what it had before, oldest first."""
        last, _, items = self._open.pop(key, (time, user, []))
        if time - last > SESSION_GAP_S:
            items = []
        earlier = np.array(items, dtype=np.int64)
        items.append(item)
        self._open[key] = time, user, items  # at the end: the last that went on
        for old in list(islice(self._open, 2)):
            if time - self._open[old][0] > SESSION_GAP_S:
                del self._open[old]
        return earlier

    def forget(self, users: Collection[int]) -> None:
        """End the sessions of these readers."""
        for key in [key for key, (_, user, _) in self._open.items() if user in users]:
            del self._open[key]


class Follower:
    """One ranker and what it goes by. One thread follows; any may ask and describe meanwhile."""

    def __init__(
        self, attributes: Attributes, event_types: Mapping[str, EventType], recipe: StreamRecipe, seed: int = 0
    ) -> None:
        self._attributes = attributes
        self._event_types = event_types
        self._recipe = recipe
        described = _articles(attributes, 0)
        self._ranker = StreamRanker(StreamState(described, np.array([DEVICES])), recipe, seed)
        self._sessions = Sessions()
        self._devices: dict[str, int] = {}
        self._known: dict[tuple[str, str], None] = {}  # users' event ids
        self._ids = count()
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()

    @property
    def now(self) -> float:
        """The time of the newest click in seconds since 1970; 0 before the first."""
        return self._ranker.state.now

    def follow(self, events: pa.Table) -> None:
        """Take in `events` (lake.EVENT_SCHEMA) that count for their items and were not taken in before."""
        clicks = self._clicks(events)
        ticks = np.floor(clicks.times / TICK)
        for rows in np.split(np.arange(len(ticks)), np.flatnonzero(np.diff(ticks)) + 1):
            some = clicks.rows(rows)
            with self._lock:
                self._practise(some)
                self._ranker.take_in(some)
            self._ranker.learn()

    def forget(self, user_ids: Iterable[str]) -> None:
        """Know nothing any more of what these users read; to be called by the thread that follows."""
        names = set(user_ids)
        if not names:
            return
        for known in [known for known in self._known if known[0] in names]:
            del self._known[known]
        users = {_reader(name) for name in names}
        self._sessions.forget(users)
        with self._lock:
            self._ranker.state.forget(users)

    def describe(self, attributes: Attributes) -> None:
        """Know the items as they are now; those known so far keep their codes."""
        with self._lock:
            self._attributes = attributes
            self._ranker.state.grow(_articles(attributes, self._ranker.state.size))
            self._ranker.candidates.reorder()

    def answer(self, asked: Asked, k: int) -> Codes:
        """The k best items for each request, best first, shape (B, k); -1 is padding, and all there is at first."""
        now = self.now
        read = [_session(*row, now) for row in zip(asked.history, asked.time, strict=True)]
        sessions, histories = [session for session, _ in read], [history for _, history in read]
        context = np.array([[self._devices.get(device or "", 0) for device in asked.devices]])
        nobody = np.full(len(sessions), -1)
        requests = Requests(nobody, nobody, sessions, context, now, histories, asked.life)
        with self._lock:
            return self._ranker.answer(requests, k).astype(np.int32)

    def _practise(self, clicks: Clicks) -> None:
        """Choose some of the clicks as examples."""
        follows = clicks.follows
        chosen = self._random.random(len(follows.items)) < self._recipe.share
        again = [item in earlier for item, earlier in zip(follows.items, follows.earlier, strict=True)]
        rows = np.flatnonzero(chosen & ~np.array(again, dtype=bool))[:MOST_EXAMPLES]
        if len(rows):
            some = follows.rows(rows)
            now = float(clicks.times[0])
            self._ranker.practise(Requests(some.ids, some.users, some.earlier, some.context, now))

    def _clicks(self, events: pa.Table) -> Clicks:
        names = [columns.EVENT_ID, columns.USER_ID, columns.ITEM_ID, columns.EVENT_TYPE, columns.VALUE]
        names += [columns.SESSION_ID, columns.DEVICE]
        rows = list(zip(*(events[name].to_pylist() for name in names), strict=True))
        times = events[columns.TIMESTAMP].cast(pa.int64()).to_numpy() / 1e6
        codes = self._attributes.index.find(keys_of([row[2] for row in rows]))
        users, items, when, devices, earlier = [], [], [], [], []
        for place in np.argsort(times, kind="stable").tolist():
            event_id, user_id, _, event_type, value, session_id, device = rows[place]
            kind, item, time = self._event_types.get(event_type), int(codes[place]), float(times[place])
            if kind is None or kind.preference(value) <= 0 or item < 0 or (user_id, event_id) in self._known:
                continue
            self._known[user_id, event_id] = None
            user = _reader(user_id)
            users.append(user)
            items.append(item)
            when.append(time)
            devices.append(self._device(device))
            earlier.append(self._sessions.go_on(key_of(session_id) if session_id else user, user, item, time))
        for event in list(islice(self._known, max(0, len(self._known) - EVENTS_KNOWN))):
            del self._known[event]
        ids = np.array(list(islice(self._ids, len(users))), dtype=np.int64)
        return Clicks(ids, _ints(users), _ints(items), np.array(when), _ints(devices)[None, :], earlier)

    def _device(self, name: str | None) -> int:
        if not name:
            return 0
        if name not in self._devices and len(self._devices) < DEVICES - 1:
            self._devices[name] = len(self._devices) + 1
        return self._devices.get(name, 0)


def _reader(user_id: str) -> int:
    return int(np.int64(np.uint64(key_of(user_id))))


def _articles(attributes: Attributes, size: int) -> Articles:
    """The items in `size` rows, or in as many as it takes, with some to spare."""
    items = len(attributes.author)
    if items > size:
        size = items + SPARE
    category, created = np.zeros(size, dtype=np.int64), np.full(size, np.nan)
    if attributes.categories.shape[1]:
        category[:items] = attributes.categories[:, 0] + 1
    created[:items] = attributes.published
    return Articles(category, created)


def _session(history: Codes, time: npt.NDArray[np.uint32], now: float) -> tuple[Ints, Ints]:
    """The items of the session that goes on `now`, and all of the history, oldest first."""
    items, times = history[history >= 0].astype(np.int64), time[history >= 0].astype(np.int64)
    if not len(items) or now - times[-1] > SESSION_GAP_S:
        return items[:0], items
    pauses = np.flatnonzero(np.diff(times) > SESSION_GAP_S)
    return items[pauses[-1] + 1 if len(pauses) else 0 :], items


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
