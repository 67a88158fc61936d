"""What earlier feature builds have done: a document that names what they consumed and the partitions that they made.

A run writes its partitions under names of its own and this document last, so that a run cut short leaves the state
before it whole, and whoever reads that state goes on reading it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from tastemaker.config import Settings
from tastemaker.features.files import STATE_FILE as STATE_FILE
from tastemaker.lake import Lake

FORMAT: Final = 1
FOLDER: Final = "features/state"
GRACE_NS: Final = 2 * 3600 * 10**9
"""Runs that ended, or were cut short, longer ago than this leave nothing that is still read."""
LISTED_DAYS: Final = 2
"""Newest days of arrival whose consumed files are named one by one; older days have ended, and a digest will do."""

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
    """Make `state` the one to go on from, and clear away what no run reads any more."""
    lake.write_json(STATE_FILE, {"format": FORMAT, **asdict(state)})
    kept = {*state.users, *state.hours, *state.known.values()}
    oldest = time.time_ns() - GRACE_NS
    for file in lake.files(FOLDER):
        if file not in kept and int(file.split("/")[2].split("-")[0]) < oldest:
            lake.remove(file)


def new_run() -> str:
    """A name that no other run has and that tells when it began."""
    return f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"


def place(run: str, what: str) -> str:
    """The name of one of a run's files."""
    return f"{FOLDER}/{run}/{what}.parquet"


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
