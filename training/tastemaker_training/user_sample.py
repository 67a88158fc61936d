"""The events that a run learns from: those of all users, or of a share of them that is the same day after day.

A user belongs to the sample by the hash of their id, with all of their events or none: a sample of events would tear
histories apart, and one drawn anew each day would forget what it knew of its users.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.errors import NotFound
from tastemaker.ids import keys_of
from tastemaker.lake import Lake, happened
from tastemaker_training.features.arrivals import ARRIVAL, partitions_for, parts_of, read_arrived, settled_arrivals
from tastemaker_training.features.engine import PARTITION, engine_for
from tastemaker_training.features.trails import COLUMNS

SALT = "sample:"  # so that the sample is independent of everything else that hashes users


def events(settings: Settings, since: datetime | None = None, until: datetime | None = None) -> pa.Table:
    """Events of the users in the sample that `settings.training` asks for, as `Lake.events` gives them.

    Columns: those of lake.EVENT_SCHEMA that an example is made of (`trails.COLUMNS`), but for the event's id. Files of
    more bytes than one process should read are read on Ray; what nobody asks for never comes here.

    Raises:
        NotFound: the lake has no event of a user in the sample; the message names the time that was asked for.
    """
    lake, training = Lake(settings.lake), settings.training
    days = training.days if since is None else None
    if days is not None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = midnight - timedelta(days=days)
    files = lake.event_files(since)
    size = sum(files.values())
    partitions = partitions_for(round(size * training.users_share))
    read = partial(
        read_arrived,
        lake=settings.lake,
        files=list(files),
        names=COLUMNS,
        partitions=partitions,
        wanted=happened(since, until),
        kept=None if training.users_share == 1 else partial(sampled, share=training.users_share),
    )
    with engine_for(size, partitions, settings) as engine:
        found = engine.collect(engine.by_partition(engine.make(parts_of(files.values()), read), _counted))
    if found.num_rows == 0:
        raise NotFound(*_nothing(settings, since, until, days))
    found = found.sort_by([(columns.TIMESTAMP, "ascending"), (ARRIVAL, "ascending")])
    return found.drop_columns([ARRIVAL])


def sampled(user_ids: pa.ChunkedArray, share: float) -> pa.Array:
    """Whether each of `user_ids` is one of the `share` of users that a run learns from."""
    encoded = user_ids.combine_chunks().dictionary_encode()
    keys = keys_of(f"{SALT}{user}" for user in encoded.dictionary.to_pylist())
    kept = (keys >> np.uint64(32)) < np.uint64(round(share * 2**32))
    return pa.array(kept[encoded.indices.to_numpy()])


def _counted(events: pa.Table) -> pa.Table:
    """A partition's events once each."""
    return settled_arrivals(events).drop_columns([columns.EVENT_ID, PARTITION])


def _nothing(settings: Settings, since: datetime | None, until: datetime | None, days: int | None) -> tuple[str, str]:
    """What to say where there are no events, and what to do."""
    found, remedy = f"the lake at {settings.lake} has no event", "Fill it with `tastemaker data import`"
    for word, moment in (("since", since), ("before", until)):
        found += f" {word} {moment:%Y-%m-%d %H:%M}" if moment else ""
    if days is not None:
        remedy = f"{remedy}, or raise `training.days`, which is {days}"
    if settings.training.users_share < 1:
        found = f"{found} of the {settings.training.users_share:.3%} of users that are sampled"
        remedy = f"{remedy}, or raise `training.users_share`"
    return found, remedy
