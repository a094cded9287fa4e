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
from ws_hub import Script, SharedPipeline

_Argument = str | bytes | int

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

    def run(self, script: Script, keys: Sequence[str], args: Sequence[_Argument]) -> Any:
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


class _Kind(NamedTuple):
    """Runs that may be one."""

    script: Script
    keys: int
    args: int


class _Run(NamedTuple):
    keys: Sequence[str]
    args: Sequence[_Argument]
    answer: asyncio.Future[Any]


class SharedScripts:
    """One round trip under way; what comes meanwhile is the next one.

    Args:
        connect: Makes the client, at the first script on an event loop.
    """

    def __init__(self, connect: Callable[[], redis.asyncio.Redis]) -> None:
        self._commands: Final = SharedPipeline(connect)
        self.close: Final = self._commands.close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[_Kind, list[_Run]] = {}
        self._sending: asyncio.Task[None] | None = None

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[_Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer, or the script failed.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # The pool was restarted.
            self._loop, self._waiting, self._sending = loop, {}, None
        run = _Run(keys, args, loop.create_future())
        self._waiting.setdefault(_Kind(script, len(keys), len(args)), []).append(run)
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await run.answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await asyncio.gather(
                    *(
                        self._send_some(kind, runs[start : start + _AT_ONCE])
                        for kind, runs in waiting.items()
                        for start in range(0, len(runs), _AT_ONCE)
                    )
                )
        finally:
            self._sending = None

    async def _send_some(self, kind: _Kind, runs: list[_Run]) -> None:
        answers: Sequence[Any]
        try:
            if len(runs) == 1 or not kind.keys:
                answers = [
                    await kind.script.run_async(self._commands, run.keys, run.args) for run in runs
                ]
            else:
                keys = [key for run in runs for key in run.keys]
                args = [arg for run in runs for arg in run.args]
                answers = await _for_each(kind.script).run_async(
                    self._commands, keys, [kind.keys, kind.args, *args]
                )
        except Exception as error:  # noqa: BLE001 - it goes to who waits
            answers = [error] * len(runs)
        for run, answer in zip(runs, answers, strict=True):
            if run.answer.done():
                continue
            if isinstance(answer, Exception):
                run.answer.set_exception(answer)
            else:
                run.answer.set_result(answer)


@cache
def _for_each(script: Script) -> Script:
    """The script run once for each of several, whatever becomes of the others."""
    return Script(_FOR_EACH % script.text)
