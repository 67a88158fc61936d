"""What earlier feature builds have done: a document that names what they consumed and the partitions that they made.

A run writes its partitions under names of its own and this document last, so that a run cut short leaves the state
before it whole, and whoever reads that state goes on reading it. While a run lives it says so again and again, however
long it takes, and nothing that it made or goes on from is cleared away.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.features.files import STATE_FILE as STATE_FILE
from tastemaker.lake import Lake

FORMAT: Final = 1
FOLDER: Final = "features/state"
ALIVE: Final = "alive.json"
"""A run's word that it lives, and since when; gone when it has ended."""
BEAT_S: Final = 60.0
GRACE_NS: Final = 30 * 60 * 10**9
"""A run that has not said that it lives for so long was killed."""
LISTED_DAYS: Final = 2
"""Newest days of arrival whose consumed files are named one by one; older days have ended, and a digest will do."""

log = logging.getLogger(__name__)

Consumed = Mapping[str, list[str] | str]
"""Of each day of arrival the names of its files, or their digest."""


@dataclass(frozen=True)
class State:
    """What the feature files are made of. P partitions, by the hash of the user's or the item's id."""

    run: str
    rules: str  # digest of the settings that say what an event means
    consumed: Consumed
    users: list[str | None]  # P files of fresh snapshots; None where a partition has none
    hours: list[str | None]  # P files of item-hours
    extents: list[tuple[int, int] | None]  # P first and last hours [µs] of the item-hours
    known: dict[str, str]  # copies of what of the catalogue and of the profiles the snapshots were made with
    rows: dict[str, int]  # of the files that are read

    @property
    def extent(self) -> tuple[int, int]:
        """The first and the last hour of all data."""
        firsts, lasts = zip(*filter(None, self.extents), strict=True)
        return min(firsts), max(lasts)


def load(lake: Lake) -> State | None:
    """The state of the last run that ended; None where there is none that this version reads."""
    if not lake.exists(STATE_FILE):
        return None
    document: dict[str, Any] = lake.read_json(STATE_FILE)
    if document.pop("format") != FORMAT:
        return None
    state = State(**document)
    extents = [None if extent is None else (extent[0], extent[1]) for extent in state.extents]
    return replace(state, extents=extents)


def save(lake: Lake, state: State) -> None:
    """Make `state` the one to go on from, and clear away what no run reads any more.

    Where another run lives nothing is: it may read what any state named. The first to end alone clears up after all.
    """
    lake.write_json(STATE_FILE, {"format": FORMAT, **asdict(state)})
    kept = {*state.users, *state.hours, *state.known.values(), place(state.run, ALIVE)}
    others = [file for file in lake.files(FOLDER) if file not in kept]
    if not any(_is_alive(lake, file) for file in others if file.endswith(ALIVE)):
        for file in others:
            lake.remove(file)


@contextmanager
def running(lake: Lake) -> Iterator[str]:
    """The name of a new run, which lives until the end of the context. To be entered before a state is loaded."""
    run = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    ended = threading.Event()
    _beat(lake, run)
    heart = threading.Thread(target=_beat_until, args=(lake, run, ended), name="alive", daemon=True)
    heart.start()
    try:
        yield run
    finally:
        ended.set()
        heart.join()
        lake.remove(place(run, ALIVE))


def _beat_until(lake: Lake, run: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        try:
            _beat(lake, run)
        except Exception as error:  # a lake that is away for a moment: the run itself tells whether it matters
            log.warning("the feature build could not say that it lives: %s", error)


def _beat(lake: Lake, run: str) -> None:
    lake.write_json(place(run, ALIVE), {"at_ns": time.time_ns()})


def _is_alive(lake: Lake, file: str) -> bool:
    try:
        return bool(lake.read_json(file)["at_ns"] > time.time_ns() - GRACE_NS)
    except (NotFound, FileNotFoundError):  # it ended this very moment
        return False


def place(run: str, file: str) -> str:
    """The name in the lake of one of a run's files."""
    return f"{FOLDER}/{run}/{file}"


def rules(settings: Settings) -> str:
    """Digest of what makes a preference of an event."""
    kinds = sorted((name, kind.model_dump_json()) for name, kind in settings.event_types.items())
    return _digest(f"{name}={kind}" for name, kind in kinds)


def consumed(files: Iterable[str]) -> Consumed:
    """How a state remembers event files."""
    days = _by_day(files)
    listed = sorted(days)[-LISTED_DAYS:]
    return {day: names if day in listed else _digest(names) for day, names in days.items()}


def arrivals(done: Consumed, files: Sequence[str]) -> list[str] | None:
    """The files that were not consumed yet; None when of those that were, some are gone, or an ended day has changed.

    Then only a build of everything is right.
    """
    days, new = _by_day(files), []
    for day, names in done.items():
        present = days.get(day, [])
        if isinstance(names, str):
            if _digest(present) != names:
                return None
        elif not set(names) <= set(present):
            return None
    for day, present in days.items():
        names = done.get(day, [])
        if not isinstance(names, str):
            new += sorted(set(present).difference(names))
    return new


def _by_day(files: Iterable[str]) -> dict[str, list[str]]:
    days: dict[str, list[str]] = {}
    for file in files:
        days.setdefault(file.rsplit("/", 1)[0], []).append(file)
    return days


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
