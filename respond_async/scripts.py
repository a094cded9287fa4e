"""Lua scripts on the worker's Redis: each is one round trip, or a part of one.

A task on the asyncio pool's loop awaits its script, and all scripts that wait at one moment go out
together: hundreds of replays share a round trip. Anywhere else a script is a call that blocks.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from respond_async.connections import worker_redis, worker_redis_on_loop
from respond_async.pool import await_, before_stop, in_bridge
from respond_async.settings import Settings

Argument = str | bytes | int


class Script:
    """A script's text, and the digest by which Redis knows it."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis' own choice


class Scripts:
    """Runs scripts. A script must bear to be run twice: a connection may be lost after it ran.

    Args:
        settings: Where Redis is, and how long it may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        #: For what is no script; calls on it block.
        self.connection: Final = worker_redis(settings)
        self._batches: _Batches | None = None

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if in_bridge():
            return await_(self._on_loop(script, keys, args))
        connection: Any = self.connection
        try:
            return connection.execute_command(*_by_sha(script, keys, args))
        except NoScriptError:
            return connection.execute_command(*_by_text(script, keys, args))

    async def _on_loop(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        loop = asyncio.get_running_loop()
        if self._batches is None or self._batches.loop is not loop:
            self._batches = _Batches(worker_redis_on_loop(self._settings), loop)
            before_stop(self._batches.close)
        batches = self._batches
        try:
            return await batches.sent(_by_sha(script, keys, args))
        except NoScriptError:
            return await batches.sent(_by_text(script, keys, args))


class _Waiting(NamedTuple):
    command: tuple[Argument, ...]
    answer: asyncio.Future[Any]


class _Batches:
    """One connection, one pipeline under way; what comes meanwhile is the next one."""

    def __init__(self, connection: redis.asyncio.Redis, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self._redis: Final = connection
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def sent(self, command: tuple[Argument, ...]) -> Any:
        """Redis' answer.

        Raises:
            redis.RedisError: Redis did not answer, or the command is wrong.
        """
        waiting = _Waiting(command, self.loop.create_future())
        self._waiting.append(waiting)
        if self._sending is None:
            self._sending = self.loop.create_task(self._send())
        return await waiting.answer

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._send_one(batch)
        finally:
            self._sending = None

    async def _send_one(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Any]
        try:
            pipe = self._redis.pipeline(transaction=False)
            for waiting in batch:
                pipe.execute_command(*waiting.command)
            answers = await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - it goes to who waits
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)


def _by_sha(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
    return ("EVALSHA", script.sha, len(keys), *keys, *args)


def _by_text(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
    # Redis keeps it: the next one goes by its digest again.
    return ("EVAL", script.text, len(keys), *keys, *args)
