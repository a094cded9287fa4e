"""The hub's commands to Redis, beside its pub/sub connection.

Hundreds of clients come back in one moment after a restart, each with a history to read: what
waits at one moment goes out together, over one connection.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from ws_hub.history import HubScript

_TIMEOUT_SECONDS: Final = 5.0
# Keeps an answer short of what would hold everybody up.
_COMMANDS_PER_ROUND: Final = 256

Argument = str | bytes | int


class _Waiting(NamedTuple):
    command: tuple[Argument, ...]
    answer: asyncio.Future[Any]


class Commands:
    """One connection, one round trip under way; what comes meanwhile is the next one.

    Every command must bear to be done twice: it is, where the connection was lost.

    Args:
        redis_url: Where Redis is.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis_url: Final = redis_url
        self._client: redis.asyncio.Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def run(self, *command: Argument) -> Any:
        """Redis' answer.

        Raises:
            redis.RedisError: Redis did not answer, or the command is wrong.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # An app may be run on another loop later; connections belong to theirs.
            self._client, self._sending, self._waiting = self._new_client(), None, []
            self._loop = loop
        waiting = _Waiting(command, loop.create_future())
        self._waiting.append(waiting)
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await waiting.answer

    async def script(self, script: HubScript, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        try:
            return await self.run("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.run("EVAL", script.text, len(keys), *keys, *args)

    async def close(self) -> None:
        """Closes the connection; the next command opens another."""
        client, self._client = self._client, None
        loop, self._loop = self._loop, None
        if client is not None and loop is asyncio.get_running_loop():
            await client.aclose()

    def _new_client(self) -> redis.asyncio.Redis:
        return redis.asyncio.from_url(
            self._redis_url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
        )

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_COMMANDS_PER_ROUND]
                del self._waiting[:_COMMANDS_PER_ROUND]
                await self._send_one(batch)
        finally:
            self._sending = None

    async def _send_one(self, batch: list[_Waiting]) -> None:
        answers: Sequence[Any]
        try:
            client = self._client
            if client is None:
                client = self._client = self._new_client()
            pipe = client.pipeline(transaction=False)
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
