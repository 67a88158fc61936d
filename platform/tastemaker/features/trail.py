"""A user's recent events, online: one Redis string of fixed 16-byte records.

A request needs the whole trail of each user of its micro-batch, and nothing but the item, the time and the preference.
As one string per user, a batch of trails is one MGET and each trail one `np.frombuffer`: no parsing, no copy, no object
per event. The ingest worker appends at the end, which Redis does in place. A list or a sorted set would cost a reply
element and a Python object for each of up to thousands of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tastemaker import columns
from tastemaker.config import Settings
from tastemaker.ids import keys_of
from tastemaker.user_keys import user_key

RECORD = np.dtype([("item", "<u8"), ("timestamp", "<u4"), ("preference", "<f4")])
"""`item` is ids.key_of(item_id), `timestamp` UTC epoch seconds, `preference` in [-1, 1] (config.EventType)."""

Trail = npt.NDArray[np.void]
"""Records of one user, oldest first, shape (n,), dtype RECORD."""

FILL_CHUNK = 1000  # users in one pipeline: some hundred kilobytes on the wire

# A trail changes only if nobody else changed it since it was read; slates made from the old one lose their epoch. That
# of a user who asked to be forgotten stays as it is: what the lake knows may be of before. KEYS: trail, epoch, when the
# user asked. ARGV: the trail as it was read, and as it is to be. Returns CHANGED, AGAIN where it is to be read anew, or
# another number where it was left alone.
SWAP = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 2 end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('INCR', KEYS[2])
return 1
"""
AGAIN, CHANGED = 0, 1


def trail_key(user_id: str) -> str:
    """Key of the trail."""
    return user_key(user_id, "trail")


def epoch_key(user_id: str) -> str:
    """Key of a counter that grows with each change of the trail: a slate cached under another epoch is out of date."""
    return user_key(user_id, "epoch")


def claims_key(user_id: str) -> str:
    """Key of which events of the user were applied lately (`events.online`)."""
    return user_key(user_id, "claims")


def erased_key(user_id: str) -> str:
    """Key of when the user asked to be forgotten (`erasure`), in milliseconds since 1970."""
    return user_key(user_id, "erased")


def slate_key(user_id: str, variant: str) -> str:
    """Key of a cached slate."""
    return user_key(user_id, f"slate:{variant}")


def shown_key(user_id: str, scene: str) -> str:
    """Key of the slates that a scene showed the user lately."""
    return user_key(user_id, f"shown:{scene}")


def decode(blob: bytes | None) -> Trail:
    """The trail that a Redis string holds (read-only); a missing key is an empty trail."""
    trail = np.frombuffer(blob or b"", RECORD)
    timestamp = trail["timestamp"]
    # Ingest appends in order of arrival; a client that was offline delivers late.
    if np.all(timestamp[1:] >= timestamp[:-1]):
        return trail
    return trail[np.argsort(timestamp, kind="stable")]


def of_items(item_ids: Sequence[str], now: int) -> Trail:
    """The trail of somebody who took to these items just now (`now`: seconds since 1970), the last one last."""
    records = np.empty(len(item_ids), RECORD)
    records["item"], records["timestamp"], records["preference"] = keys_of(item_ids), now, 1.0
    return records


def encode(records: Trail) -> bytes:
    """The Redis string of a trail."""
    return np.ascontiguousarray(records, RECORD).tobytes()


async def read(redis: AsyncRedis, user_ids: Sequence[str]) -> list[Trail]:
    """The trails of `user_ids`, in their order, in one round trip."""
    if not user_ids:
        return []
    return [decode(blob) for blob in await redis.mget([trail_key(user_id) for user_id in user_ids])]


def fill(redis: Redis, trails: Mapping[str, Trail]) -> int:
    """Merge `trails` into what is online; returns how many users' trails changed.

    An event that only one side knows is kept and one that both know counts once; ingest cuts a trail that grew beyond
    its length with the next event. Written by compare-and-set, so an event that ingest applies meanwhile is never lost.
    Users who asked to be forgotten (`erasure`) keep what they have done since. Running it again changes nothing.
    """
    changed = 0
    waiting = iter(trails.items())
    while chunk := dict(islice(waiting, FILL_CHUNK)):
        while chunk:
            online: Any = redis.mget([trail_key(user_id) for user_id in chunk])
            wanted = {
                user_id: (blob or b"", merged)
                for (user_id, trail), blob in zip(chunk.items(), online, strict=True)
                if (merged := _merge(encode(trail), blob or b"")) != (blob or b"")
            }
            became = _swap(redis, wanted)
            changed += sum(what == CHANGED for what in became.values())
            chunk = {user_id: chunk[user_id] for user_id, what in became.items() if what == AGAIN}
    return changed


def from_events(events: pa.Table, settings: Settings) -> dict[str, Trail]:
    """Each user's newest `settings.ingest.trail_length` events of a table in lake.EVENT_SCHEMA, as trails.

    Raises:
        InvalidInput: an event type is not declared in the settings.
    """
    users = pc.dictionary_encode(events[columns.USER_ID].combine_chunks())
    items = pc.dictionary_encode(events[columns.ITEM_ID].combine_chunks())
    microseconds = events[columns.TIMESTAMP].cast(pa.int64()).to_numpy()
    records = np.empty(events.num_rows, RECORD)
    records["item"] = keys_of(items.dictionary.to_pylist())[items.indices.to_numpy()]
    records["timestamp"] = np.clip(microseconds // 1_000_000, 0, np.iinfo(np.uint32).max)
    records["preference"] = preferences(events, settings)

    user = users.indices.to_numpy()
    order = np.lexsort((microseconds, user))
    records = records[order]
    ends = np.cumsum(np.bincount(user, minlength=len(users.dictionary)))
    starts = np.maximum(np.concatenate(([0], ends[:-1])), ends - settings.ingest.trail_length)
    return {
        user_id: records[start:end]
        for user_id, start, end in zip(users.dictionary.to_pylist(), starts.tolist(), ends.tolist(), strict=True)
    }


def preferences(events: pa.Table, settings: Settings) -> npt.NDArray[np.float32]:
    """The preference in [-1, 1] of each event, shape (n,): EventType.preference over columns.

    Raises:
        InvalidInput: an event type is not declared in the settings.
    """
    types = pc.dictionary_encode(events[columns.EVENT_TYPE].combine_chunks())
    declared = [settings.event_type(name) for name in types.dictionary.to_pylist()]
    code = types.indices.to_numpy()
    # Where a type has no scale, or an event no value, the weight counts in full.
    neutral = np.array([np.nan if kind.neutral is None else kind.neutral for kind in declared])[code]
    full = np.array([np.nan if kind.full is None else kind.full for kind in declared])[code]
    value = events[columns.VALUE].to_numpy()
    strength = np.nan_to_num(np.clip((value - neutral) / (full - neutral), -1, 1), nan=1.0)
    return np.asarray(np.array([kind.weight for kind in declared])[code] * strength, np.float32)


def _merge(lake: bytes, online: bytes) -> bytes:
    """Union of two trails as multisets: a record counts as often as in the side that has it more often."""
    if not online or online == lake:
        return lake
    known = Counter(_records(lake))
    added = []
    for record in _records(online):
        if known.get(record):
            known[record] -= 1
        else:
            added.append(record)
    return encode(decode(b"".join((lake, *added))))


def _records(blob: bytes) -> list[bytes]:
    records: list[bytes] = np.frombuffer(blob, f"V{RECORD.itemsize}").tolist()
    return records


def _swap(redis: Redis, wanted: Mapping[str, tuple[bytes, bytes]]) -> dict[str, int]:
    """Set each user's trail to the second value where it still is the first; returns what SWAP says of each."""
    if not wanted:
        return {}
    script = redis.register_script(SWAP)
    with redis.pipeline(transaction=False) as pipe:
        for user_id, (seen, merged) in wanted.items():
            keys = [trail_key(user_id), epoch_key(user_id), erased_key(user_id)]
            script(keys=keys, args=[seen, merged], client=pipe)
        return dict(zip(wanted, pipe.execute(), strict=True))
