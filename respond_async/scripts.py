"""Lua scripts on the worker's Redis: each is one round trip, or a part of one.

A task on the asyncio pool's loop awaits its script. Those that wait at one moment go out together,
those of one script as one run of it for all: hundreds of replays share a round trip, and what
redis-py and Redis do for a command. Anywhere else a script is a call that blocks.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import redis.asyncio

from respond_async.connections import worker_redis, worker_redis_on_loop
from respond_async.pool import await_, before_stop, in_bridge
from respond_async.settings import Settings
from ws_hub import Argument, Rounds, Script, SharedPipeline

# Redis does nothing else while they run.
_AT_ONCE: Final = 100

# ARGV: how many keys each run has, how many arguments, then those of one run after the other.
_FOR_EACH: Final = """
local function one(KEYS, ARGV)
%s
end
local keys_each, args_each = tonumber(ARGV[1]), tonumber(ARGV[2])
local answers = {}
for place = 1, #KEYS / keys_each do
  local keys, args = {}, {}
  for i = 1, keys_each do keys[i] = KEYS[(place - 1) * keys_each + i] end
  for i = 1, args_each do args[i] = ARGV[2 + (place - 1) * args_each + i] end
  local done, answer = pcall(one, keys, args)
  if not done and type(answer) ~= 'table' then answer = {err = tostring(answer)} end
  answers[place] = answer or false
end
return answers
"""


class Scripts:
    """Runs scripts. A script must bear to be run twice: a connection may be lost after it ran.

    Args:
        settings: Where Redis is, and how long it may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        #: For what is no script; calls on it block.
        self.connection: Final = worker_redis(settings)
        self._on_loop: Final = SharedScripts(self._connect)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if in_bridge():
            return await_(self._on_loop.run(script, keys, args))
        return script.run(self.connection, keys, args)

    def _connect(self) -> redis.asyncio.Redis:
        before_stop(self._on_loop.close)
        return worker_redis_on_loop(self._settings)


class _Run(NamedTuple):
    script: Script
    keys: Sequence[str]
    args: Sequence[Argument]


class SharedScripts:
    """Scripts by `Rounds`.

    Args:
        connect: Makes the client, at the first script on an event loop.
    """

    def __init__(self, connect: Callable[[], redis.asyncio.Redis]) -> None:
        self._commands: Final = SharedPipeline(connect)
        self.close: Final = self._commands.close
        self._rounds: Final = Rounds(self._send)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer, or the script failed.
        """
        return await self._rounds.ask(_Run(script, keys, args))

    async def _send(self, runs: list[_Run]) -> list[Any]:
        alike: dict[tuple[Script, int, int], list[int]] = {}
        for place, run in enumerate(runs):
            alike.setdefault((run.script, len(run.keys), len(run.args)), []).append(place)
        together = [
            places[start : start + _AT_ONCE]
            for places in alike.values()
            for start in range(0, len(places), _AT_ONCE)
        ]
        answers: list[Any] = [None] * len(runs)
        found = await asyncio.gather(
            *(self._as_one([runs[place] for place in places]) for places in together)
        )
        for places, given in zip(together, found, strict=True):
            for place, answer in zip(places, given, strict=True):
                answers[place] = answer
        return answers

    async def _as_one(self, runs: list[_Run]) -> Sequence[Any]:
        """The answers of runs of one script that have as many keys and arguments."""
        script, keys_each, args_each = runs[0].script, len(runs[0].keys), len(runs[0].args)
        try:
            if len(runs) == 1 or not keys_each:
                return [await script.run_async(self._commands, run.keys, run.args) for run in runs]
            keys = [key for run in runs for key in run.keys]
            args = [arg for run in runs for arg in run.args]
            answers: Sequence[Any] = await _for_each(script).run_async(
                self._commands, keys, [keys_each, args_each, *args]
            )
        except Exception as error:  # noqa: BLE001 - it goes to who waits
            return [error] * len(runs)
        return answers


@cache
def _for_each(script: Script) -> Script:
    """The script run once for each of several, whatever becomes of the others."""
    return Script(_FOR_EACH % script.text)
