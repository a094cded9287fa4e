"""Limits on accepted requests: how many are in flight, how many a minute; a user's and everybody's.

Off by default: only a limit that is set costs a round trip to Redis. One script looks at every
limit and counts the request if none refuses it, so that several servers together keep to them.

In Redis, per owner (by a keyed hash of the channel) and, as `all`, for everybody:

    respond_async:in_flight:  sorted set of ids by the moment they are taken for lost
    respond_async:rate:       the moment at which the allowance is whole again (GCRA)
"""

from typing import Any, Final

from redis.client import Pipeline

from respond_async.connections import AppRedis
from respond_async.envelope import CapturedRequest
from respond_async.later import LaterWrites
from respond_async.problems import Problem
from respond_async.sealing import Sealer
from respond_async.settings import Settings

# KEYS: in flight of the owner, of all; rate of the owner, of all. ARGV: id, seconds that one is in
# flight at most, then the four limits in that order, 0 for none.
# Gives nothing if the request is counted, else the place of the limit and the milliseconds until
# it may be over, 0 where nobody knows.
_ENTER: Final = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for place = 1, 2 do
  local limit = tonumber(ARGV[2 + place])
  if limit > 0 then
    redis.call('zremrangebyscore', KEYS[place], '-inf', now)
    if not redis.call('zscore', KEYS[place], ARGV[1])
        and redis.call('zcard', KEYS[place]) >= limit then
      return {place, 0}
    end
  end
end
local whole = {}
for place = 3, 4 do
  local limit = tonumber(ARGV[2 + place])
  if limit > 0 then
    local step = 60000 / limit
    local at = math.max(tonumber(redis.call('get', KEYS[place]) or now), now) + step
    if at - now > 60000 + 0.001 then
      return {place, math.ceil(at - now - 60000)}
    end
    whole[place] = at
  end
end
for place = 1, 2 do
  if tonumber(ARGV[2 + place]) > 0 then
    redis.call('zadd', KEYS[place], now + ARGV[2] * 1000, ARGV[1])
    redis.call('pexpire', KEYS[place], ARGV[2] * 1000)
  end
end
for place, at in pairs(whole) do
  redis.call('set', KEYS[place], string.format('%.3f', at), 'PX', 60000)
end
return {}
"""
_SAID: Final = (
    "You have as many requests under way as you may: {limit}.",
    "As many requests are under way as may be: {limit}.",
    "You may send {limit} requests a minute.",
    "Only {limit} requests a minute are accepted.",
)


class _Limits:
    def __init__(self, settings: Settings) -> None:
        self._limits: Final = (
            settings.limit_in_flight_per_user,
            settings.limit_in_flight,
            settings.limit_per_minute_per_user,
            settings.limit_per_minute,
        )
        self._ttl: Final = settings.result_ttl_seconds
        self._retry_after: Final = settings.retry_after_seconds
        self._sealer: Final = Sealer(settings, "limits")

    def _keys(self, channel: str) -> list[str]:
        owner = self._sealer.names(channel)[0]
        return [
            f"respond_async:in_flight:{owner}",
            "respond_async:in_flight:all",
            f"respond_async:rate:{owner}",
            "respond_async:rate:all",
        ]


class AppLimits(_Limits):
    """The app's side: counts what is accepted."""

    def __init__(self, settings: Settings, connection: AppRedis) -> None:
        super().__init__(settings)
        self._redis: Final = connection

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return any(self._limits)

    async def enter(self, request: CapturedRequest) -> None:
        """Counts a request that is about to be accepted.

        Raises:
            Problem: 429, a limit is reached.
            redis.RedisError: Redis did not answer.
        """
        client: Any = self._redis.client()
        keys = self._keys(request.channel)
        refused = await client.eval(
            _ENTER, len(keys), *keys, request.task_id, self._ttl, *self._limits
        )
        if refused:
            place, milliseconds = refused
            seconds = -(-milliseconds // 1000) or self._retry_after
            raise Problem(
                429,
                _SAID[place - 1].format(limit=self._limits[place - 1]) + " Try again later.",
                {"Retry-After": str(max(1, seconds))},
            )

    async def leave(self, request: CapturedRequest) -> None:
        """Takes back the count of a request that was not accepted after all.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for redis_key in self._keys(request.channel)[:2]:
                pipe.zrem(redis_key, request.task_id)
            await pipe.execute()


class WorkerLimits(_Limits):
    """The worker's side: counts out what has ended."""

    def __init__(self, settings: Settings, later: LaterWrites) -> None:
        super().__init__(settings)
        self._later: Final = later

    def ended(self, request: CapturedRequest) -> None:
        """The request is no longer in flight; Redis hears of it soon."""
        if any(self._limits[:2]):
            self._later.put(lambda pipe: self._remove(pipe, request))

    def _remove(self, pipe: Pipeline, request: CapturedRequest) -> None:
        for redis_key in self._keys(request.channel)[:2]:
            pipe.zrem(redis_key, request.task_id)
