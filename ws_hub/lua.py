"""Lua scripts, and many commands in one round trip."""

from __future__ import annotations

import asyncio
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final, Protocol

from ws_hub.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

Argument = str | bytes | int

# Keeps an answer short of what would hold everybody up.
_COMMANDS_PER_ROUND: Final = 256


class Asynchronous(Protocol):
    """A client of Redis for asyncio, or a `SharedPipeline`."""

    def execute_command(self, *args: Any) -> Awaitable[Any]:
        """Redis' answer."""


class Script:
    """A Lua script and the digest by which Redis knows it.

    It should bear to be run twice: a connection may be lost after it ran.
    """

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = sha1(text.encode()).hexdigest()  # noqa: S324 - Redis' own choice

    def run(self, client: Any, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        # Here: who only names channels needs no Redis client.
        from redis.exceptions import NoScriptError

        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            # Redis keeps it: the next one goes by its digest again.
            return client.execute_command("EVAL", self.text, len(keys), *keys, *args)

    async def run_async(
        self, client: Asynchronous, keys: Sequence[str], args: Sequence[Argument]
    ) -> Any:
        """`run` for asyncio.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        from redis.exceptions import NoScriptError

        try:
            return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.execute_command("EVAL", self.text, len(keys), *keys, *args)


class SharedPipeline:
    """One connection, one round trip under way; what comes meanwhile is the next one.

    Hundreds of clients come back in one moment after a restart, each with a history to read, and
    hundreds of tasks end in one: what waits at one moment goes out together. Every command must
    bear to be done twice: it is, where the connection was lost.

    Args:
        connect: Makes the client, at the first command on an event loop.
    """

    def __init__(self, connect: Callable[[], Redis]) -> None:
        self._connect: Final = connect
        self._client: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rounds: Final = Rounds(self._send, _COMMANDS_PER_ROUND)

    async def execute_command(self, *command: Argument) -> Any:
        """Redis' answer.

        Raises:
            redis.RedisError: Redis did not answer, or the command is wrong.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Connections belong to their loop.
            self._client, self._loop = self._connect(), loop
        return await self._rounds.ask(command)

    async def close(self) -> None:
        """Closes the connection; the next command opens another."""
        client, self._client = self._client, None
        loop, self._loop = self._loop, None
        if client is not None and loop is asyncio.get_running_loop():
            await client.aclose()

    async def _send(self, commands: list[tuple[Argument, ...]]) -> Sequence[Any]:
        try:
            client = self._client
            if client is None:
                client = self._client = self._connect()
            if len(commands) == 1:
                # Half the work of a pipeline.
                execute: Any = client.execute_command
                return [await execute(*commands[0])]
            pipe = client.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - it goes to who waits
            return [_redis_error(error)] * len(commands)


def _redis_error(error: Exception) -> Exception:
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import RedisClusterException

    # What a cluster's client raises while no node answers is no RedisError.
    return RedisConnectionError(str(error)) if isinstance(error, RedisClusterException) else error
