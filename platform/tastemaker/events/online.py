"""The online effects of events: a user's trail, the epoch that outdates their cached slates, the trending counters.

Each event claims its id in the very step that appends it to the trail, so it counts once however often it is delivered
or sent. A vote for what is trending may be repeated: only a user's strongest for an item counts.
"""

from __future__ import annotations

import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from redis import Redis

from tastemaker import metrics, profiles
from tastemaker.config import EventType, Settings
from tastemaker.events import trending
from tastemaker.events.schema import Record
from tastemaker.events.stream import Entry
from tastemaker.features.trail import RECORD, epoch_key, trail_key
from tastemaker.ids import key_of
from tastemaker.user_keys import user_key

# Appends a user's events to their trail, each of them once. KEYS: trail, epoch, profile, a claim per event. ARGV: the
# trail's greatest length (bytes), life of a claim (s), a record per event. Returns the profile, then for each event 1
# where it is new, else 0.
APPLY = """
local reply, records = {redis.call('GET', KEYS[3])}, {}
for i = 4, #KEYS do
  local claimed = redis.call('SET', KEYS[i], '', 'NX', 'EX', ARGV[2])
  reply[i - 2] = claimed and 1 or 0
  if claimed then records[#records + 1] = ARGV[i - 1] end
end
if #records > 0 then
  local excess = redis.call('APPEND', KEYS[1], table.concat(records)) - tonumber(ARGV[1])
  if excess > 0 then redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], excess, -1)) end
  redis.call('INCR', KEYS[2])
end
return reply
"""

Delivery = tuple[Record, float, bool]
"""An event, the preference that it expresses, and whether it was delivered before."""

_pack: Final = struct.Struct("<QIf").pack  # one trail.RECORD
assert struct.calcsize("<QIf") == RECORD.itemsize


def apply(redis: Redis, entries: Sequence[Entry], settings: Settings) -> None:
    """Bring trails, epochs and trending counters up to date with `entries`; doing it again changes nothing."""
    by_user = _by_user(entries, settings.event_types)
    replies = append(redis, by_user, settings)
    applied: Counter[tuple[str, bool]] = Counter()
    trending.count(redis, _votes(by_user, replies, applied), int(time.time()))
    for (event_type, new), number in applied.items():
        metrics.EVENTS.labels(event_type, "applied" if new else "duplicate").inc(number)
    now = time.time()
    for entry in entries:
        metrics.EVENT_LAG_SECONDS.observe(max(0.0, now - entry.arrived_ms / 1000))


def append(redis: Redis, by_user: Mapping[str, Sequence[Delivery]], settings: Settings) -> list[list[Any]]:
    """Append each event to its user's trail unless that was done before; returns what APPLY says of each user."""
    script = redis.register_script(APPLY)
    limits = [settings.ingest.trail_length * RECORD.itemsize, settings.ingest.dedupe_s]
    with redis.pipeline(transaction=False) as pipe:
        pipe.scripts.add(script)  # so that it is loaded; calling the script itself takes longer than all the rest
        for user_id, deliveries in by_user.items():
            claim = user_key(user_id, "event:")
            keys = [trail_key(user_id), epoch_key(user_id), profiles.records.key(user_id)]
            keys += [claim + record.event_id for record, _, _ in deliveries]
            records = [
                _pack(key_of(record.item_id), record.timestamp // 1_000_000, preference)
                for record, preference, _ in deliveries
            ]
            pipe.evalsha(script.sha, len(keys), *keys, *limits, *records)
        return pipe.execute()


def _by_user(entries: Sequence[Entry], kinds: Mapping[str, EventType]) -> dict[str, list[Delivery]]:
    by_user: dict[str, list[Delivery]] = defaultdict(list)
    for entry in entries:
        for record in entry.records:
            preference = kinds[record.event_type].preference(record.value)
            by_user[record.user_id].append((record, preference, entry.redelivered))
    return by_user


def _votes(
    by_user: Mapping[str, Sequence[Delivery]], replies: Sequence[Sequence[Any]], applied: Counter[tuple[str, bool]]
) -> Iterator[trending.Vote]:
    """The votes of events that are new; `applied` counts these and the others by type."""
    for (user_id, deliveries), (profile, *flags) in zip(by_user.items(), replies, strict=True):
        country = profiles.records.decode(profile).country
        for (record, preference, redelivered), flag in zip(deliveries, flags, strict=True):
            applied[record.event_type, bool(flag)] += 1
            # A client's repetition must not count in another bucket, but our own work, cut short, may lack its vote.
            if flag or redelivered:
                yield trending.Vote(user_id, record.item_id, record.timestamp // 1_000_000, preference, country)
