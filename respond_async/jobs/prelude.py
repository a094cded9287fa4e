"""What all scripts of jobs begin with: the clock, the names of keys, lists, the news for owners.

A change of a status is told through the hub's history, in the script that makes it: numbered, kept,
and heard once by who was away. Progress is only said to who listens now, since the record has it. So
is what becomes of a job without an owner: nobody else can ask for its channel.
"""

import json
from typing import Final

from respond_async.settings import Settings
from ws_hub import PUBLISH_LUA, HistoryLimits, Script, publication, redis_channel

PREFIX: Final = "respond_async:jobs:"

#: Gives the microseconds of now. The only clock there is.
CLOCK_LUA: Final = """
local time = redis.call('time')
local us = time[1] * 1000000 + time[2]
"""

# `hub` is what `hub_of` gives, or '' to tell nobody.
_LUA: Final = """
local p = 'respond_async:jobs:'
CLOCK
local now = math.floor(us / 1000)
local function int(n) return string.format('%.0f', n) end
local function job(id) return p .. 'job:' .. id end
local function lists(status, owner, name)
  local s = p .. 'in:' .. status
  return {s, s .. ':o:' .. owner, s .. ':n:' .. name, s .. ':o:' .. owner .. ':n:' .. name}
end
local function index(id, status)
  local h = redis.call('hmget', job(id), 'owner', 'name', 'created')
  for _, list in ipairs(lists(status, h[1], h[2])) do redis.call('zadd', list, h[3], id) end
end
local function unindex(id, status)
  local h = redis.call('hmget', job(id), 'owner', 'name')
  for _, list in ipairs(lists(status, h[1], h[2])) do redis.call('zrem', list, id) end
end
local function tell(id, hub, progress)
  local h = redis.call('hmget', job(id), 'status', 'name')
  local v = redis.call('hincrby', job(id), 'version', 1)
  if hub == '' then return end
  local data = {task_id = id, status = h[1], name = h[2], version = v, action = 'task'}
  if progress then data.progress = progress end
  local message, to = cjson.encode({type = 'data', data = cjson.encode(data)}), cjson.decode(hub)
  if progress or #to == 1 then
    redis.call('publish', to[3] or to[1], message)
    return
  end
  local ended = h[1] ~= 'PENDING' and h[1] ~= 'RUNNING'
  to[4], to[5] = message, id .. '.' .. (ended and h[1] or v)
  -- Where `ws_hub_publish` finds them; what the script was given itself stays as it is.
  local k, a = #KEYS, #ARGV
  for place = 1, 2 do KEYS[k + place] = to[place] end
  for place = 3, #to do ARGV[a + place - 2] = to[place] end
  ws_hub_publish(k + 1, a + 1)
  for place = #to - 2, 1, -1 do ARGV[a + place] = nil end
  KEYS[k + 2], KEYS[k + 1] = nil, nil
end
local function release(id)
  local h = redis.call('hmget', job(id), 'slots', 'parked')
  for _, scope in ipairs(h[1] and cjson.decode(h[1]) or {}) do
    redis.call('zrem', p .. 'slots:' .. scope, id)
  end
  if h[2] then redis.call('zrem', p .. 'waiting:' .. h[2], id) end
  redis.call('hdel', job(id), 'slots', 'parked')
end
local function erase(id)
  release(id)
  local h = redis.call('hmget', job(id), 'status', 'dedupe')
  if h[1] then unindex(id, h[1]) end
  if h[2] and redis.call('get', p .. 'dedupe:' .. h[2]) == id then
    redis.call('del', p .. 'dedupe:' .. h[2])
  end
  redis.call('zrem', p .. 'ended', id)
  redis.call('zrem', p .. 'unsent', id)
  redis.call('zrem', p .. 'owed', id)
  redis.call('unlink', job(id), p .. 'log:' .. id)
end
local function finish(id, status, hub, history, ttl)
  release(id)
  local from = redis.call('hget', job(id), 'status')
  unindex(id, from)
  redis.call('hset', job(id), 'status', status, 'completed', int(us))
  redis.call('hdel', job(id), 'retry_at')
  redis.call('zrem', p .. 'unsent', id)
  if history == '1' then
    index(id, status)
    redis.call('zadd', p .. 'ended', int(us), id)
  else
    -- In no list, so it may end by itself; what is in lists ends by pruning alone.
    redis.call('expire', job(id), math.ceil(ttl))
    redis.call('expire', p .. 'log:' .. id, math.ceil(ttl))
    local dedupe = redis.call('hget', job(id), 'dedupe')
    if dedupe then redis.call('expire', p .. 'dedupe:' .. dedupe, math.ceil(ttl)) end
  end
  if redis.call('hget', job(id), 'owed') == '1' then redis.call('zadd', p .. 'owed', int(now), id) end
  tell(id, hub)
end
local function create(id, hub, wait, from)
  redis.call('hset', job(id), 'id', id, 'status', 'PENDING', 'created', int(us), unpack(ARGV, from))
  index(id, 'PENDING')
  redis.call('zadd', p .. 'unsent', int(now + wait), id)
  tell(id, hub)
end
"""


def job_script(text: str) -> Script:
    """A script that begins so."""
    return Script(PUBLISH_LUA + _LUA.replace("CLOCK", CLOCK_LUA.strip()) + text)


def hub_of(channel: str, job_id: str, settings: Settings) -> str:
    """Where and how a job's owner is told, for the scripts.

    Args:
        channel: The internal name of the owner's channel; "" for nobody.
        job_id: The job; of nobody's there is a channel of its own.
        settings: How much history the hub keeps.
    """
    if not channel:
        return json.dumps([redis_channel(job_channel(job_id))])
    limits = HistoryLimits(settings.hub_history_messages, settings.hub_history_seconds)
    made = publication(channel, {"type": "data"}, limits=limits)
    return json.dumps([*made.keys, *made.args])


def job_channel(job_id: str) -> str:
    """The internal name of the channel of a job without an owner; no client can ask for it."""
    return f"job.{job_id}"
