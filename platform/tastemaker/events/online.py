"""The online effects of events: a user's trail, the epoch that outdates their cached slates, the trending counters.

Each event claims its id in the very step that appends it to the trail, so it counts once however often it is delivered
or sent. In the same step an event of before its user asked to be forgotten is passed over: it may have waited in the
stream. A vote for what is trending may be repeated: only a user's strongest for an item counts.
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
from tastemaker.features.trail import RECORD, claims_key, epoch_key, erased_key, trail_key
from tastemaker.ids import key_of

CLAIM: Final = struct.calcsize("<QI")
"""Bytes of a claim: the hash of an event's id, and when it was claimed (s since 1970)."""
MOST_CLAIMS: Final = 10_000
"""Ids that are remembered of one user: a hundred kilobytes, which a step with one of their events copies."""

# Appends a user's events to their trail, each of them once. KEYS: trail, epoch, claims, when the user asked to be
# forgotten, profile. ARGV: the trail's greatest length (bytes), that of the claims, life of a claim, the time (s), then
# the events: hash of the id, record of the trail, and when it happened or came, whichever was first (ms). Returns the
# profile, then for each event 1 where it is new, 0 where it is known, -1 where it was passed over.
APPLY = """
local life, now = tonumber(ARGV[3]), tonumber(ARGV[4])
local found = redis.call('MGET', KEYS[3], KEYS[4], KEYS[5])
local claims, asked, reply = found[1] or '', tonumber(found[2] or -1), {found[3]}
local first, fresh, records = 1, '', ''
while first < #claims and struct.unpack('<I4', claims, first + 8) <= now - life do first = first + 12 end
local function has(claims, id, first)
  local at = string.find(claims, id, first, true)
  while at and at % 12 ~= 1 do at = string.find(claims, id, at + 1, true) end
  return at
end
for i = 5, #ARGV do
  local event, became = ARGV[i], 0
  local id = string.sub(event, 1, 8)
  if asked >= 0 and struct.unpack('<d', event, 25) <= asked then
    became = -1
  elseif not (has(claims, id, first) or has(fresh, id, 1)) then
    became, fresh, records = 1, fresh .. id .. struct.pack('<I4', now), records .. string.sub(event, 9, 24)
  end
  reply[#reply + 1] = became
end
if records ~= '' then
  local excess = redis.call('APPEND', KEYS[1], records) - tonumber(ARGV[1])
  if excess > 0 then redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], excess, -1)) end
  redis.call('SET', KEYS[3], string.sub(string.sub(claims, first) .. fresh, -tonumber(ARGV[2])), 'EX', life)
  redis.call('INCR', KEYS[2])
end
return reply
"""
BECAME: Final = {1: "applied", 0: "duplicate", -1: "forgotten"}
"""Results of `metrics.EVENTS`, by what APPLY returns."""

Delivery = tuple[Record, float, float, bool]
"""An event, the preference that it expresses, when it came (ms since 1970), and whether it was delivered before."""

_pack: Final = struct.Struct("<QQIfd").pack  # hash of an id, one trail.RECORD, a moment
assert struct.calcsize("<QIf") == RECORD.itemsize


def apply(redis: Redis, entries: Sequence[Entry], settings: Settings) -> None:
    """Bring trails, epochs and trending counters up to date with `entries`; doing it again changes nothing."""
    by_user = _by_user(entries, settings.event_types)
    replies = append(redis, by_user, settings)
    became: Counter[tuple[str, int]] = Counter()
    trending.count(redis, _votes(by_user, replies, became), int(time.time()))
    for (event_type, what), number in became.items():
        metrics.EVENTS.labels(event_type, BECAME[what]).inc(number)
    now = time.time()
    for entry in entries:
        metrics.EVENT_LAG_SECONDS.observe(max(0.0, now - entry.arrived_ms / 1000))


def append(redis: Redis, by_user: Mapping[str, Sequence[Delivery]], settings: Settings) -> list[list[Any]]:
    """Append each event to its user's trail unless that was done before; returns what APPLY says of each user."""
    script = redis.register_script(APPLY)
    ingest = settings.ingest
    limits = [ingest.trail_length * RECORD.itemsize, MOST_CLAIMS * CLAIM, ingest.dedupe_s, int(time.time())]
    with redis.pipeline(transaction=False) as pipe:
        pipe.scripts.add(script)  # so that it is loaded; calling the script itself takes longer than all the rest
        for user_id, deliveries in by_user.items():
            keys = [trail_key(user_id), epoch_key(user_id), claims_key(user_id), erased_key(user_id)]
            keys.append(profiles.records.key(user_id))
            events = [
                _pack(
                    key_of(record.event_id),
                    key_of(record.item_id),
                    record.timestamp // 1_000_000,
                    preference,
                    min(came_ms, record.timestamp / 1000),
                )
                for record, preference, came_ms, _ in deliveries
            ]
            pipe.evalsha(script.sha, len(keys), *keys, *limits, *events)
        return pipe.execute()


def _by_user(entries: Sequence[Entry], kinds: Mapping[str, EventType]) -> dict[str, list[Delivery]]:
    by_user: dict[str, list[Delivery]] = defaultdict(list)
    for entry in entries:
        came_ms = float(entry.arrived_ms)
        for record in entry.records:
            preference = kinds[record.event_type].preference(record.value)
            by_user[record.user_id].append((record, preference, came_ms, entry.redelivered))
    return by_user


def _votes(
    by_user: Mapping[str, Sequence[Delivery]], replies: Sequence[Sequence[Any]], became: Counter[tuple[str, int]]
) -> Iterator[trending.Vote]:
    """The votes of events that are new; `became` counts these and the others, by type and what APPLY says."""
    for (user_id, deliveries), (profile, *flags) in zip(by_user.items(), replies, strict=True):
        country = profiles.records.decode(profile).country
        for (record, preference, _, redelivered), what in zip(deliveries, flags, strict=True):
            became[record.event_type, what] += 1
            # A client's repetition must not count in another bucket, but our own work, cut short, may lack its vote.
            if what == 1 or (what == 0 and redelivered):
                yield trending.Vote(user_id, record.item_id, record.timestamp // 1_000_000, preference, country)
