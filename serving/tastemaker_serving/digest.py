"""A slate for every user, as one Parquet or CSV file: for letters, notifications and other systems.

Parts of the users are done one by one, each into a file of its own in a hidden folder beside the result:

    .NAME.parts/run.json         what this digest is of      users.parquet   whom it is for
    .NAME.parts/part-*.parquet   slates of those users that are done

A run that was killed goes on where it was, as long as it is asked for the same of the same models; otherwise, or after
a day, it begins anew. The result appears whole, and replaces the one before.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import fsspec
import pyarrow as pa

from tastemaker import columns, scenes
from tastemaker.errors import InvalidInput
from tastemaker.lake_files import Files
from tastemaker_serving import batch, wire
from tastemaker_serving.batch import BATCH, Plan

PART_USERS: Final = 1000
LASTING_S: Final = 86_400
"""An unfinished run that began before would mix slates of two days."""
RUN, USERS = "run.json", "users.parquet"
SUFFIXES: Final = (".parquet", ".csv")
SLATES: Final = pa.schema(
    [
        (columns.USER_ID, pa.string()),
        (columns.POSITION, pa.int32()),
        (columns.ITEM_ID, pa.string()),
        ("score", pa.float64()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("model_version", pa.string()),
    ]
)


@dataclass(frozen=True)
class Wanted:
    """What a digest is of. Two runs that want the same continue one another."""

    model_version: str
    n: int
    scene: str
    audience: str
    """Digest of the list of users that was given; empty for all there are."""
    part_users: int

    def part(self, users: Sequence[str], place: int) -> Sequence[str]:
        """The users of a part."""
        return users[place * self.part_users : (place + 1) * self.part_users]


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    out: str
    model_version: str
    users: int
    users_before: int
    """Of these, users that an earlier run had done."""
    rows: int
    seconds: float


def write(
    plan: Plan,
    out: str,
    n: int,
    given: Sequence[str] | None,
    everyone: Callable[[], Sequence[str]],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    part_users: int = PART_USERS,
) -> Summary:
    """Write the digest to `out`, going on with an unfinished one.

    Args:
        out: path or fsspec URL; its name ends in one of SUFFIXES.
        given: the users it is for; by default `everyone`, who are only looked up where it begins.
        progress: told the users done and all there are.
        part_users: in one part, at most; what a killed run loses is less than one part per worker.

    Raises:
        InvalidInput: `out` has another ending, or there are no users.
        Unavailable: a part failed; running it again goes on.
    """
    began = time.monotonic()
    folder, name = _place(out)
    wanted = Wanted(plan.models.version, n, scenes.DIGEST, _digest(given), part_users)
    work = f"{folder}/.{name}.parts"
    users = _begin_or_continue(work, wanted, given, everyone)
    store = Files(work)
    parts = [_name(place) for place in range(math.ceil(len(users) / part_users))]
    todo = [{"part": place} for place, part in enumerate(parts) if not store.exists(part)]
    done = before = len(users) - sum(len(wanted.part(users, row["part"])) for row in todo)
    progress(done, len(users))
    for told in batch.run(DigestWorker, plan, (wanted, work), todo):
        done += told["users"]
        progress(done, len(users))
    rows = Files(folder).write_all(name, (store.read(part) for part in parts))
    _remove(work)
    return Summary(out, wanted.model_version, len(users), before, rows, round(time.monotonic() - began, 3))


class DigestWorker:
    """Makes the slates of a part of the users, and files them."""

    def __init__(self, plan: Plan, wanted: Wanted, work: str) -> None:
        # Imported here: only workers need Ray Serve, which takes seconds.
        from tastemaker_serving.in_process import InProcess

        models = plan.models
        # What a letter shows is counted by nobody, so that it would explore the same for ever.
        settings = scenes.unexplored(plan.settings, scenes.DIGEST)
        self._recommender = InProcess(settings, models.bundle(settings), models.version, plan.redis_url)
        self._wanted = wanted
        self._store = Files(work)
        self._users = self._store.read(USERS)[columns.USER_ID].to_pylist()

    def __call__(self, part: pa.Table) -> pa.Table:
        """Do one part."""
        place = part["part"][0].as_py()
        users = self._wanted.part(self._users, place)
        tables = [self._slates(users[start : start + BATCH]) for start in range(0, len(users), BATCH)]
        self._store.write(_name(place), pa.concat_tables(tables))
        return pa.table({"part": [place], "users": [len(users)]})

    def _slates(self, users: Sequence[str]) -> pa.Table:
        wanted = self._wanted
        queries = [wire.Query("digest", user, wanted.scene, None, wanted.n) for user in users]
        found = list(zip(users, self._recommender.slates(queries), strict=True))
        values: dict[str, list[Any]] = {
            columns.USER_ID: [user for user, slate in found for _ in slate.item_ids],
            columns.POSITION: [position for _, slate in found for position in range(len(slate.item_ids))],
            columns.ITEM_ID: [item for _, slate in found for item in slate.item_ids],
            "score": [score for _, slate in found for score in slate.scores],
            "source": [source for _, slate in found for source in slate.sources],
            "reason": [reason for _, slate in found for reason in slate.reasons],
        }
        values["model_version"] = [wanted.model_version] * len(values[columns.USER_ID])
        return pa.table(values, schema=SLATES)


def _begin_or_continue(
    work: str, wanted: Wanted, given: Sequence[str] | None, everyone: Callable[[], Sequence[str]]
) -> list[str]:
    """The users of the run in the folder `work`, which are written down when it begins."""
    store = Files(work)
    if store.exists(RUN):
        run = store.read_json(RUN)
        if run["wanted"] == asdict(wanted) and time.time() - run["began"] < LASTING_S:
            users: list[str] = store.read(USERS)[columns.USER_ID].to_pylist()
            return users
    _remove(work)
    users = list(dict.fromkeys(everyone() if given is None else given))
    if not users:
        raise InvalidInput("there is nobody to make slates for", "Import events, or name users in a file")
    store.write(USERS, pa.table({columns.USER_ID: pa.array(users, pa.string())}))
    store.write_json(RUN, {"wanted": asdict(wanted), "began": time.time()})  # last: it says that the run has begun
    return users


def _name(place: int) -> str:
    return f"part-{place:06d}.parquet"


def _digest(users: Sequence[str] | None) -> str:
    return "" if users is None else hashlib.sha256("\0".join(users).encode()).hexdigest()[:16]


def _place(out: str) -> tuple[str, str]:
    """The folder and the name of a path or URL."""
    url = out if "://" in out else os.path.abspath(out)
    folder, _, name = url.rpartition("/")
    if not name.endswith(SUFFIXES) or name in SUFFIXES:
        raise InvalidInput(f"{out!r} is no file that a digest can be written to", f"End it in {' or '.join(SUFFIXES)}")
    return folder, name


def _remove(work: str) -> None:
    fs, path = fsspec.url_to_fs(work)
    if fs.exists(path):
        fs.rm(path, recursive=True)
