"""The transitions of a job in Redis: each one script, whole or not at all, by Redis' clock.

In Redis, behind `respond_async:jobs:`

    job:{id}      hash: the record
    log:{id}      list: what the job logged, sealed
    dedupe:{key}  id of the job that a dedupe key stands for
    in:{status}[:o:{owner}][:n:{name}]
                  sorted sets of ids by the microsecond of creation, one for each filter
    ended         sorted set of ids by the microsecond of their end: what is pruned, oldest first
    unsent        sorted set of ids by the millisecond from which a worker publishes them: the outbox
    owed          the same, of ended jobs whose callbacks and webhooks are to be called
    slots:{scope} sorted set of ids that run, by the millisecond at which their lease ends
    waiting:{scope}
                  sorted set of ids that were refused there, by the microsecond of creation
    limits        hash: the limit of each scope where any wait
    schedule:{id}, schedules[:...]
                  see `schedule_scripts`

A scope is `all`, `f:` and a function's name, `o:` and an owner, or `k:` and a key.

`state` is the same without Redis. Each script bears to be run twice, since a connection may be lost
after it ran. `hub` is what `prelude.hub_of` gives.
"""

from typing import Final

from respond_async.jobs.prelude import PREFIX
from respond_async.jobs.prelude import job_script as _script

__all__ = ["PREFIX"]

#: Where workers hear that a running job is to be cancelled: its id.
CANCEL_CHANNEL: Final = f"{PREFIX}cancel"

# ARGV: id, hub, dedupe ('' for none), milliseconds until the outbox is due, then the record's
# fields and values. Gives the id of the job there is: an earlier one of the same dedupe key.
CREATE: Final = _script("""
local id, hub, dedupe = ARGV[1], ARGV[2], ARGV[3]
if redis.call('exists', job(id)) == 1 then return id end
if dedupe ~= '' then
  local known = redis.call('get', p .. 'dedupe:' .. dedupe)
  if known and redis.call('exists', job(known)) == 1 then return known end
  redis.call('set', p .. 'dedupe:' .. dedupe, id)
  redis.call('hset', job(id), 'dedupe', dedupe)
end
create(id, hub, ARGV[4], 5)
return id
""")

# The broker has it. ARGV: id. Gives the record.
SENT: Final = _script("""
redis.call('zrem', p .. 'unsent', ARGV[1])
return redis.call('hgetall', job(ARGV[1]))
""")

# ARGV: id, holder, milliseconds of a lease, most losses, a holder known to be dead, history,
# seconds that what has ended is kept, '1' if the job is to be made where there is none, the limits
# of all, its function, its owner and its key (0 for none), then the fields of one to be made. Such a
# one is not parked: its message holds what Celery needs. Gives the verdict and the record.
BEGIN: Final = _script("""
local id, holder, most, dead = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5]
local key = job(id)
local h = redis.call('hmget', key, 'status', 'holder', 'lease', 'losses', 'repeatable', 'cancelling')
if not h[1] then
  if ARGV[8] ~= '1' then return {'gone'} end
  redis.call('hset', key, 'id', id, 'status', 'PENDING', 'created', int(us), unpack(ARGV, 13))
  index(id, 'PENDING')
  h = redis.call('hmget', key, 'status', 'holder', 'lease', 'losses', 'repeatable', 'cancelling')
end
redis.call('zrem', p .. 'unsent', id)
local function answer(verdict) return {verdict, redis.call('hgetall', key)} end
if h[1] ~= 'PENDING' and h[1] ~= 'RUNNING' then return answer('ended') end
local old, losses = h[2] or '', tonumber(h[4] or 0)
if old == holder then
  redis.call('hset', key, 'lease', int(now + ARGV[3]))
  return answer('run')
end
if old ~= '' then
  if tonumber(h[3]) > now and old ~= dead then return {'busy', old} end
  losses = redis.call('hincrby', key, 'losses', 1)
end
if h[6] == '1' then
  finish(id, 'CANCELLED', '', ARGV[6], ARGV[7])
  return answer('ended')
end
if old ~= '' and (h[5] ~= '1' or losses >= most) then
  redis.call('hset', key, 'lost', '1')
  finish(id, 'FAILED', '', ARGV[6], ARGV[7])
  return answer('ended')
end
release(id)
local of = redis.call('hmget', key, 'function', 'owner', 'key', 'created')
local scopes = {'all', 'f:' .. (of[1] or ''), 'o:' .. of[2], 'k:' .. (of[3] or '')}
local held = {}
for place, scope in ipairs(scopes) do
  local limit = tonumber(ARGV[8 + place])
  if limit > 0 and not (place == 4 and not of[3]) and not (place == 3 and of[2] == '-') then
    redis.call('zremrangebyscore', p .. 'slots:' .. scope, '-inf', int(now))
    if redis.call('zcard', p .. 'slots:' .. scope) >= limit then
      redis.call('hset', key, 'holder', '', 'lease', 0)
      if ARGV[8] == '1' then return {'busy', ''} end
      redis.call('hset', key, 'parked', scope)
      redis.call('zadd', p .. 'waiting:' .. scope, of[4], id)
      redis.call('hset', p .. 'limits', scope, limit)
      return {'parked'}
    end
    held[#held + 1] = scope
  end
end
for _, scope in ipairs(held) do redis.call('zadd', p .. 'slots:' .. scope, int(now + ARGV[3]), id) end
if #held > 0 then redis.call('hset', key, 'slots', cjson.encode(held)) end
if h[1] == 'PENDING' then
  unindex(id, 'PENDING')
  index(id, 'RUNNING')
  redis.call('hset', key, 'status', 'RUNNING', 'started', int(us))
end
redis.call('hset', key, 'holder', holder, 'lease', int(now + ARGV[3]))
redis.call('hdel', key, 'retry_at')
redis.call('hincrby', key, 'attempts', 1)
redis.call('hincrby', key, 'version', 1)
return answer('run')
""")

# ARGV: id, holder, status, hub, history, seconds, then fields of the record. Gives whether it counts:
# 2, if there may be room for another now, or callbacks are owed.
END: Final = _script("""
local id, holder, status = ARGV[1], ARGV[2], ARGV[3]
local h = redis.call('hmget', job(id), 'status', 'holder')
if h[1] ~= 'RUNNING' or h[2] ~= holder then
  if h[1] ~= status or h[2] ~= holder then return 0 end
else
  if #ARGV > 6 then redis.call('hset', job(id), unpack(ARGV, 7)) end
  finish(id, status, ARGV[4], ARGV[5], ARGV[6])
end
return 1 + math.min(1, redis.call('exists', p .. 'limits', p .. 'owed'))
""")

# ARGV: id, holder, hub, history, seconds, milliseconds until it is to run again ('' if the
# broker delivers it anyway), milliseconds that the outbox waits on top. Gives 1 if another run follows.
PUT_BACK: Final = _script("""
local id, key = ARGV[1], job(ARGV[1])
local h = redis.call('hmget', key, 'status', 'holder', 'repeatable', 'cancelling')
if h[1] ~= 'RUNNING' or h[2] ~= ARGV[2] then return 0 end
if h[4] == '1' then
  finish(id, 'CANCELLED', ARGV[3], ARGV[4], ARGV[5])
  return 0
end
if h[3] ~= '1' then
  redis.call('hset', key, 'lost', '1')
  finish(id, 'FAILED', ARGV[3], ARGV[4], ARGV[5])
  return 0
end
redis.call('hset', key, 'holder', '', 'lease', 0)
release(id)
if ARGV[6] ~= '' then
  redis.call('hset', key, 'retry_at', int(us + ARGV[6] * 1000))
  redis.call('zadd', p .. 'unsent', int(now + ARGV[6] + ARGV[7]), id)
end
tell(id, ARGV[3])
return 1
""")

# ARGV: id, hub, history, seconds. Gives the status there was, '' if there is no such job.
CANCEL: Final = _script("""
local id = ARGV[1]
local h = redis.call('hmget', job(id), 'status', 'holder')
if not h[1] then return '' end
if h[1] == 'PENDING' or (h[1] == 'RUNNING' and h[2] == '') then
  finish(id, 'CANCELLED', ARGV[2], ARGV[3], ARGV[4])
elseif h[1] == 'RUNNING' then
  redis.call('hset', job(id), 'cancelling', '1')
  redis.call('publish', p .. 'cancel', id)
  tell(id, ARGV[2])
end
return h[1]
""")

# ARGV: milliseconds of a lease, then id and holder of each run. Gives the ids of runs to be ended:
# cancelled, or not the holder's any more.
RENEW: Final = _script("""
local over = {}
for place = 2, #ARGV, 2 do
  local id = ARGV[place]
  local h = redis.call('hmget', job(id), 'status', 'holder', 'cancelling', 'slots')
  if h[1] == 'RUNNING' and h[2] == ARGV[place + 1] then
    redis.call('hset', job(id), 'lease', int(now + ARGV[1]))
    for _, scope in ipairs(h[4] and cjson.decode(h[4]) or {}) do
      redis.call('zadd', p .. 'slots:' .. scope, int(now + ARGV[1]), id)
    end
    if h[3] == '1' then over[#over + 1] = id end
  else
    over[#over + 1] = id
  end
end
return over
""")

# Removes a job that has ended, or that nobody was told of. ARGV: id, '1' if it may be pending.
# Gives the status there is, '' if there is no such job (any more).
DELETE: Final = _script("""
local status = redis.call('hget', job(ARGV[1]), 'status')
if not status then return '' end
if status == 'RUNNING' or (status == 'PENDING' and ARGV[2] ~= '1') then return status end
erase(ARGV[1])
return ''
""")

# ARGV: seconds that what has ended is kept, how many are kept, how many are removed at once. Gives
# how many were removed.
PRUNE: Final = _script("""
local ended, most = p .. 'ended', tonumber(ARGV[3])
local old = redis.call('zrangebyscore', ended, '-inf', '(' .. int(us - ARGV[1] * 1000000),
                       'LIMIT', 0, most)
local over = redis.call('zcard', ended) - #old - ARGV[2]
if over > 0 and #old < most then
  local more = redis.call('zrange', ended, #old, #old + math.min(over, most - #old) - 1)
  for _, id in ipairs(more) do old[#old + 1] = id end
end
for _, id in ipairs(old) do erase(id) end
return #old
""")

# ARGV: how many, milliseconds until they are due again, `unsent` or `owed`. Gives ids.
DUE: Final = _script("""
local ids = redis.call('zrangebyscore', p .. ARGV[3], '-inf', int(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('zadd', p .. ARGV[3], int(now + ARGV[2]), id) end
return ids
""")

# ARGV: how many, the place to begin behind ('' or microseconds and id), the microseconds from and
# to, then the lists to merge. Gives the records of the newest.
PAGE: Final = _script("""
local want, found = tonumber(ARGV[1]), {}
-- From the cursor on: what is newer is not looked at again.
local top = ARGV[5]
if ARGV[2] ~= '' and (top == '+inf' or tonumber(top) > tonumber(ARGV[2])) then top = ARGV[2] end
for place = 6, #ARGV do
  local offset, left = 0, want
  while left > 0 do
    local rows = redis.call('zrevrangebyscore', ARGV[place], top, ARGV[4], 'WITHSCORES',
                            'LIMIT', offset, want)
    for row = 1, #rows, 2 do
      local id, score = rows[row], tonumber(rows[row + 1])
      if ARGV[2] == '' or score < tonumber(ARGV[2]) or (score == tonumber(ARGV[2]) and id < ARGV[3])
      then
        found[#found + 1] = {id, score}
        left = left - 1
      end
    end
    if #rows < 2 * want then break end
    offset = offset + want
  end
end
table.sort(found, function(a, b)
  if a[2] == b[2] then return a[1] > b[1] end
  return a[2] > b[2]
end)
local page = {}
for place = 1, math.min(want, #found) do page[place] = redis.call('hgetall', job(found[place][1])) end
return page
""")

# What a run says. ARGV: id, holder, hub, the progress as JSON and sealed ('' for none), how many
# lines are kept, then sealed lines. Gives 1 if the run is the job's.
REPORT: Final = _script("""
local id, key = ARGV[1], job(ARGV[1])
local h = redis.call('hmget', key, 'status', 'holder')
if h[1] ~= 'RUNNING' or h[2] ~= ARGV[2] then return 0 end
local progress
if ARGV[4] ~= '' then
  progress = cjson.decode(ARGV[4])
  redis.call('hset', key, 'progress', ARGV[5])
end
if #ARGV > 6 then
  redis.call('rpush', p .. 'log:' .. id, unpack(ARGV, 7))
  redis.call('ltrim', p .. 'log:' .. id, -ARGV[6], -1)
end
tell(id, ARGV[3], progress)
return 1
""")

# Says again what is. ARGV: id, hub.
TELL: Final = _script("tell(ARGV[1], ARGV[2])")

# Callbacks and webhook of a job were called, or given up. ARGV: id, what became of them.
SETTLE: Final = _script("""
redis.call('zrem', p .. 'owed', ARGV[1])
if redis.call('exists', job(ARGV[1])) == 1 then redis.call('hset', job(ARGV[1]), 'owed', ARGV[2]) end
""")

# They failed. ARGV: id, milliseconds until the next time. Gives how often they did.
OWE_ON: Final = _script("""
if redis.call('exists', job(ARGV[1])) == 0 then
  redis.call('zrem', p .. 'owed', ARGV[1])
  return 0
end
redis.call('zadd', p .. 'owed', int(now + ARGV[2]), ARGV[1])
return redis.call('hincrby', job(ARGV[1]), 'owed_tries', 1)
""")

# Puts into the outbox what waits where there is room; a slot whose lease ended is free. Gives how many.
UNPARK: Final = _script("""
local count, limits = 0, redis.call('hgetall', p .. 'limits')
for place = 1, #limits, 2 do
  local scope, limit = limits[place], tonumber(limits[place + 1])
  local slots, waiting = p .. 'slots:' .. scope, p .. 'waiting:' .. scope
  redis.call('zremrangebyscore', slots, '-inf', int(now))
  local room = limit - redis.call('zcard', slots)
  if room > 0 then
    for _, id in ipairs(redis.call('zrange', waiting, 0, room - 1)) do
      redis.call('zrem', waiting, id)
      redis.call('hdel', job(id), 'parked')
      redis.call('zadd', p .. 'unsent', int(now), id)
      count = count + 1
    end
  end
  if redis.call('exists', waiting) == 0 then redis.call('hdel', p .. 'limits', scope) end
end
return count
""")
