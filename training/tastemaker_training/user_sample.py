"""The events that a run learns from: those of all users, or of a share of them that is the same day after day.

A user belongs to the sample by the hash of their id, with all of their events or none: a sample of events would tear
histories apart, and one drawn anew each day would forget what it knew of its users.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.ids import keys_of
from tastemaker.lake import EVENT_SCHEMA, FILE, Lake, settled
from tastemaker_training.features.engine import engine_for

SALT = "sample:"  # so that the sample is independent of everything else that hashes users
TASKS = 64  # in which files are read, each by one worker


@dataclass(frozen=True)
class Reader:
    """Reads the sampled users' events of some files."""

    lake: str  # URL
    share: float
    since: datetime | None
    until: datetime | None

    def __call__(self, files: list[str]) -> pa.Table:
        """Their rows, as they lie, with repeated events."""
        time = pc.field(columns.TIMESTAMP)
        wanted = pc.scalar(True) if self.since is None else time >= pa.scalar(self.since, pa.timestamp("us", "UTC"))
        if self.until is not None:
            wanted &= time < pa.scalar(self.until, pa.timestamp("us", "UTC"))
        rows = Lake(self.lake).scan(files, EVENT_SCHEMA.names, wanted).drop_columns(FILE)
        return rows.filter(sampled(rows[columns.USER_ID], self.share))


def events(settings: Settings, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
    """Events as `Lake.events` gives them, of the users in the sample that `settings.training` asks for.

    Files of more bytes than one process should read are read on Ray.

    Raises:
        NotFound: the lake has no event of a user in the sample.
    """
    lake, training = Lake(settings.lake), settings.training
    if since is None and training.days is not None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - timedelta(days=training.days)
    if training.users_share == 1:
        return lake.events(since, until)
    files = lake.event_files()
    reader = Reader(settings.lake, training.users_share, since, until)
    names = list(files)
    tasks = [names[start::TASKS] for start in range(min(TASKS, len(names)))]
    with engine_for(sum(files.values()), len(tasks), settings) as engine:
        found = engine.collect(engine.make(tasks, reader)) if tasks else EVENT_SCHEMA.empty_table()
    if found.num_rows == 0:
        raise NotFound(
            f"the lake at {settings.lake} has no event of the {training.users_share:.3%} of users that are sampled",
            "Import some with `tastemaker data import`, or raise `training.users_share`",
        )
    return settled(found.select(EVENT_SCHEMA.names))


def sampled(user_ids: pa.ChunkedArray, share: float) -> pa.ChunkedArray:
    """Whether each of `user_ids` is one of the `share` of users that a run learns from."""
    encoded = user_ids.combine_chunks().dictionary_encode()
    keys = keys_of(f"{SALT}{user}" for user in encoded.dictionary.to_pylist())
    kept = (keys >> np.uint64(32)) < np.uint64(round(share * 2**32))
    return pa.array(kept[encoded.indices.to_numpy()])
