"""Whether a token was revoked."""

import asyncio
import random
import time
from typing import Any, Final

from redis.exceptions import RedisError

from ws_hub.errors import TokenRejected
from ws_hub.lua import Asynchronous
from ws_hub.revocation import REVOKED_PREFIX
from ws_hub.tokens import Claims

_PAUSE_SECONDS: Final = 0.2


class Revocations:
    """Asks for revocations.

    Args:
        commands: The connection.
    """

    def __init__(self, commands: Asynchronous) -> None:
        self._commands: Final = commands

    async def check(self, claims: Claims, timeout_seconds: float) -> None:
        """Returns if the token was not revoked; asks for so long while Redis is away.

        Raises:
            TokenRejected: It was.
            redis.RedisError: Redis did not answer in time.
        """
        jti = claims.raw.get("jti")
        keys = [f"{REVOKED_PREFIX}user:{claims.sub}"]
        keys += [f"{REVOKED_PREFIX}jti:{jti}"] if isinstance(jti, str) else []
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                found = await asyncio.gather(
                    *(self._commands.execute_command("GET", key) for key in keys)
                )
                break
            except RedisError:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load
        issued: Any = claims.raw.get("iat")
        at = None if found[0] is None else int(found[0])
        by_user = at is not None and not (_is_number(issued) and issued > at)
        if by_user or any(one is not None for one in found[1:]):
            raise TokenRejected("revoked", "the token was revoked")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
