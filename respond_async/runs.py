"""How a worker begins and ends the run of a request: one round trip to Redis each.

`begin` takes the lease and finds what earlier deliveries left; `end` tells the owner and clears up.
"""

import logging
from typing import Any, Final, NamedTuple

import redis
from celery.backends.base import Backend
from celery.backends.redis import RedisBackend
from redis.connection import parse_url

from respond_async.accepted import key
from respond_async.envelope import CapturedRequest
from respond_async.leases import LEASE_SECONDS, Leases, is_dead
from respond_async.scripts import Scripts
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from ws_hub import PUBLISH_LUA, HistoryLimits, Script, completed, parse_servers, publication

logger = logging.getLogger(__name__)

_NOTHING: Final = ""

# KEYS: running, withdrawn, deliveries, the result. ARGV: holder, milliseconds of a lease, seconds
# of the rest, a holder that is known to be dead. Gives the number of this delivery, below zero if
# there is a result; 0 if it is withdrawn; the holder of the lease if that is another.
_BEGIN: Final = Script("""
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[4] then return holder end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('exists', KEYS[2]) == 1 then return 0 end
local number = redis.call('incr', KEYS[3])
redis.call('expire', KEYS[3], ARGV[3])
if KEYS[4] and redis.call('exists', KEYS[4]) == 1 then return -number end
return number
""")

# KEYS: notified, deliveries, body, running, endpoint, those of the publication. ARGV: seconds,
# holder, what was asked if the endpoint gave no answer, the publication. Whole or not at all, so
# nobody is told twice. The keys are in several slots: this needs a Redis that is no cluster.
_END: Final = Script(
    PUBLISH_LUA
    + """
local told = redis.call('exists', KEYS[1]) == 0
if told then
  if ARGV[3] ~= '' then redis.call('set', KEYS[5], ARGV[3], 'EX', ARGV[1]) end
  ws_hub_publish(6, 4)
  redis.call('set', KEYS[1], '1', 'EX', ARGV[1])
end
redis.call('unlink', KEYS[2], KEYS[3])
if redis.call('get', KEYS[4]) == ARGV[2] then redis.call('del', KEYS[4]) end
return told and 1 or 0
"""
)

# KEYS: running. ARGV: holder.
_GIVE_BACK: Final = Script("""
return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0
""")


def end_command(task_id: str, channel: str, settings: Settings) -> tuple[Any, ...]:
    """The arguments of EVAL that tell the owner of an end that no worker made; 1: it told first.

    Args:
        task_id: The request; its result is stored.
        channel: The internal name of its owner's channel.
        settings: How long it is known that the owner was told, and what the channel keeps.
    """
    # No holder: whoever runs it keeps the lease until it has ended.
    keys, args = _end(task_id, channel, settings, _NOTHING, _NOTHING)
    return (_END.text, len(keys), *keys, *args)


def _end(
    task_id: str, channel: str, settings: Settings, holder: str, asked: str
) -> tuple[list[str], list[str | int]]:
    limits = HistoryLimits(settings.hub_history_messages, settings.hub_history_seconds)
    told = publication(channel, completed(task_id), limits=limits)
    kinds = ("notified", "deliveries", "body", "running", "endpoint")
    keys = [key(kind, task_id) for kind in kinds]
    return [*keys, *told.keys], [settings.result_ttl_seconds, holder, asked, *told.args]


class Begun(NamedTuple):
    """What a worker finds when it begins a request."""

    #: Nobody else runs it; the lease is this process's now.
    alone: bool
    #: Its client was told 503.
    withdrawn: bool = False
    #: It may have a result: the result backend knows.
    may_have_result: bool = False
    #: How often it was begun, this time included.
    delivery: int = 0


class Runs:
    """The runs of one process.

    Args:
        settings: TTL and key.
        scripts: The worker's Redis.
        leases: This process's.
    """

    def __init__(self, settings: Settings, scripts: Scripts, leases: Leases) -> None:
        self._settings: Final = settings
        self._scripts: Final = scripts
        self._leases: Final = leases
        self._sealer: Final = Sealer(settings, "record")
        self._result_is_ours: bool | None = None

    def begin(self, task_id: str, backend: Backend) -> Begun:
        """Takes the lease and counts the delivery; asked again a little later if it is not alone.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        keys = [key("running", task_id), key("withdrawn", task_id), key("deliveries", task_id)]
        sees_result = self._sees_result(backend)
        if sees_result:
            result_key: Any = backend.get_key_for_task(task_id)  # type: ignore[attr-defined]
            keys.append(result_key)
        holder, dead = self._leases.new_holder(), _NOTHING
        while True:
            args = (holder, int(LEASE_SECONDS * 1000), self._settings.result_ttl_seconds, dead)
            found = self._scripts.run(_BEGIN, keys, args)
            if isinstance(found, int):
                break
            other = found.decode("utf-8", "replace")
            if other == dead or not is_dead(other):
                return Begun(alone=False)
            dead = other
        self._leases.keep(task_id, holder)
        return Begun(
            alone=True,
            withdrawn=not found,
            may_have_result=found < 0 or not sees_result,
            delivery=abs(found),
        )

    def end(self, request: CapturedRequest, *, answered: bool) -> bool:
        """Tells the owner, unless that was done, and gives the lease back; whether it told.

        Called after the result is stored.

        Args:
            request: What was replayed.
            answered: Whether the result is an answer; otherwise what was asked is kept with it.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        task_id = request.task_id
        asked = _NOTHING if answered else self._sealer.seal(request.endpoint.encode("latin-1"))
        holder = self._leases.holder(task_id)
        keys, args = _end(task_id, request.channel, self._settings, holder, asked)
        told = self._scripts.run(_END, keys, args)
        self._leases.drop(task_id)
        return bool(told)

    def leave(self, task_id: str) -> None:
        """Gives back the lease of a request that has not ended; never raises."""
        holder = self._leases.drop(task_id)
        if holder:
            try:
                self._scripts.run(_GIVE_BACK, [key("running", task_id)], [holder])
            except (redis.RedisError, OSError) as error:
                logger.warning("lease of %s ends by itself: %s", task_id, error)

    def _sees_result(self, backend: Any) -> bool:
        """Whether the results are in the same database, where a script can see them."""
        if self._result_is_ours is None:
            self._result_is_ours = _same_database(backend, self._settings.redis_url)
        return self._result_is_ours


def _same_database(backend: Any, url: str) -> bool:
    # One of a Sentinel or a cluster is another class.
    if type(backend) is not RedisBackend:
        return False
    if parse_servers(url).kind != "server":
        return False
    theirs = backend.connparams  # type: ignore[attr-defined]
    ours = {"db": 0, "port": 6379, **parse_url(url)}  # type: ignore[no-untyped-call]
    names = ("host", "port", "db", "path")
    return all(str(theirs.get(name) or 0) == str(ours.get(name) or 0) for name in names)
