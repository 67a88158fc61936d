"""What happens in Redis in one step: the Lua of the stream. All keys of a call are those of one shard."""

from __future__ import annotations

# KEYS: stream, published. ARGV: number of events, events.
PUBLISH = """
redis.call('XADD', KEYS[1], '*', 'n', ARGV[1], 'events', ARGV[2])
return redis.call('INCRBY', KEYS[2], ARGV[1])
"""

# Acknowledges entries, and files what in them was no event: once, however many workers had the entry.
# KEYS: stream, finished, dead. ARGV: group, dead letters kept, then for each entry: id, number of events, number of
# dead letters and, for each of those, reason and payload. Returns how many dead letters were filed.
FINISH = """
local at, done, filed = 3, 0, 0
while at <= #ARGV do
  local id, letters = ARGV[at], tonumber(ARGV[at + 2])
  if redis.call('XACK', KEYS[1], ARGV[1], id) == 1 then
    done = done + tonumber(ARGV[at + 1])
    for i = at + 3, at + 1 + 2 * letters, 2 do
      redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'reason', ARGV[i], 'payload', ARGV[i + 1], 'entry', id)
    end
    filed = filed + letters
  end
  at = at + 3 + 2 * letters
end
if done > 0 then redis.call('HINCRBY', KEYS[2], ARGV[1], done) end
return filed
"""

# Acknowledges entries and promises the file that has them, unless somebody else acknowledged one of them before.
# KEYS: stream, finished, files. ARGV: group, file or '', number of events, then ids. Returns 1, or 0: nothing was done.
COMMIT = """
for i = 4, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1) == 0 then return 0 end
end
for i = 4, #ARGV do redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
else
  redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[3])
end
return 1
"""

# Keeps a promise, whose events then are finished. KEYS: finished, files. ARGV: group, file.
KEEP = """
local number = redis.call('HGET', KEYS[2], ARGV[2])
if number then
  redis.call('HDEL', KEYS[2], ARGV[2])
  redis.call('HINCRBY', KEYS[1], ARGV[1], number)
end
"""

# Removes the entries that all groups, those of ARGV among them, have acknowledged. KEYS: stream, published, finished,
# files. Where nothing is left everything is finished: that sets right what somebody else has removed or added.
TRIM = """
local function field(group, name)
  for i = 1, #group, 2 do if group[i] == name then return group[i + 1] end end
end
local function split(id)
  local milliseconds, sequence = string.match(id, '(%d+)-(%d+)')
  return tonumber(milliseconds), tonumber(sequence)
end
local joined, first, sequence = {}, nil, nil
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name = field(group, 'name')
  joined[name] = true
  local ms, seq = split(field(group, 'last-delivered-id'))
  seq = seq + 1
  if field(group, 'pending') > 0 then ms, seq = split(redis.call('XPENDING', KEYS[1], name)[2]) end
  if not first or ms < first or (ms == first and seq < sequence) then first, sequence = ms, seq end
end
for _, name in ipairs(ARGV) do if not joined[name] then return 0 end end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-%.0f', first, sequence))
if redis.call('XLEN', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[4]) == 0 then
  local published = redis.call('GET', KEYS[2]) or 0
  for _, name in ipairs(ARGV) do redis.call('HSET', KEYS[3], name, published) end
end
return removed
"""
