"""Schedules in Redis; each change is one script.

Behind `respond_async:jobs:`

    schedule:{id}           hash: the schedule
    schedules               sorted set of ids by the microsecond at which they are due; of those that are not paused
    schedules:all[:{owner}] sorted sets of ids by the microsecond of creation

A schedule is fired by the script that moves it on to its next time and makes the record of the job:
whichever worker comes first, once for each time, whoever dies.
"""

from typing import Final

from respond_async.jobs.prelude import job_script as _script

# What time it is, in microseconds.
NOW: Final = _script("return int(us)")

# ARGV: id, owner, how many the owner may have (0: any number), when it is due, then fields and values.
# Gives 0 if there are too many.
CREATE: Final = _script("""
local key, most = p .. 'schedule:' .. ARGV[1], tonumber(ARGV[3])
if redis.call('exists', key) == 1 then return 1 end
local mine = p .. 'schedules:all:' .. ARGV[2]
if most > 0 and redis.call('zcard', mine) >= most then return 0 end
redis.call('hset', key, 'id', ARGV[1], 'owner', ARGV[2], 'created', int(us), 'version', 1,
           'next', ARGV[4], unpack(ARGV, 5))
redis.call('zadd', mine, int(us), ARGV[1])
redis.call('zadd', p .. 'schedules:all', int(us), ARGV[1])
redis.call('zadd', p .. 'schedules', ARGV[4], ARGV[1])
return 1
""")

# ARGV: id, the version that was read, when it is due, then fields and values. Gives 0 if it was
# changed meanwhile, or deleted.
CHANGE: Final = _script("""
local key = p .. 'schedule:' .. ARGV[1]
if redis.call('hget', key, 'version') ~= ARGV[2] then return 0 end
redis.call('hset', key, 'next', ARGV[3], unpack(ARGV, 4))
redis.call('hincrby', key, 'version', 1)
if redis.call('hget', key, 'paused') == '1' then
  redis.call('zrem', p .. 'schedules', ARGV[1])
else
  redis.call('zadd', p .. 'schedules', ARGV[3], ARGV[1])
end
return 1
""")

# ARGV: id.
DELETE: Final = _script("""
local owner = redis.call('hget', p .. 'schedule:' .. ARGV[1], 'owner')
redis.call('zrem', p .. 'schedules', ARGV[1])
redis.call('zrem', p .. 'schedules:all', ARGV[1])
if owner then redis.call('zrem', p .. 'schedules:all:' .. owner, ARGV[1]) end
redis.call('unlink', p .. 'schedule:' .. ARGV[1])
""")

# ARGV: how many. Gives the microseconds of now, and those that are due.
DUE: Final = _script("""
local found = {}
for _, id in ipairs(redis.call('zrangebyscore', p .. 'schedules', '-inf', int(us), 'LIMIT', 0, ARGV[1])) do
  found[#found + 1] = redis.call('hgetall', p .. 'schedule:' .. id)
end
return {int(us), found}
""")

# ARGV: id, the version and the due time that were read, when it is due next, the id of the job ('' if
# this time is left out), hub, then fields of the job's record. Gives 0 if somebody else was first.
FIRE: Final = _script("""
local key = p .. 'schedule:' .. ARGV[1]
local h = redis.call('hmget', key, 'version', 'next', 'paused')
if h[1] ~= ARGV[2] or h[2] ~= ARGV[3] or h[3] == '1' then return 0 end
redis.call('hset', key, 'next', ARGV[4])
redis.call('zadd', p .. 'schedules', ARGV[4], ARGV[1])
if ARGV[5] == '' then
  redis.call('hincrby', key, 'skipped', 1)
  return 1
end
redis.call('hset', key, 'last', ARGV[3], 'last_job', ARGV[5])
redis.call('hincrby', key, 'fired', 1)
create(ARGV[5], ARGV[6], 0, 7)
return 1
""")

# ARGV: owner ('' for all), how many. Gives schedules, the newest first.
LIST: Final = _script("""
local list, found = p .. 'schedules:all', {}
if ARGV[1] ~= '' then list = list .. ':' .. ARGV[1] end
for _, id in ipairs(redis.call('zrevrange', list, 0, ARGV[2] - 1)) do
  found[#found + 1] = redis.call('hgetall', p .. 'schedule:' .. id)
end
return found
""")
