"""Tokens that are taken back before they expire.

A revocation is a key in Redis, which keeps the token out, and a message to all hubs, which ends
what it has opened. Hubs read the keys again when they have lost Redis and have it back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ws_hub.protocol import HUBS, encode, redis_channel

if TYPE_CHECKING:
    from redis import Redis
    from redis.asyncio import Redis as AsyncRedis


#: In front of `user:<sub>` and `jti:<jti>`, whose value is when (Unix time) it was revoked.
REVOKED_PREFIX: Final = "ws_hub:revoked:"
_DAY_SECONDS: Final = 86_400


def revoke(
    client: Redis, *, user: str | None = None, jti: str | None = None, seconds: int = _DAY_SECONDS
) -> None:
    """Closes what the hubs serve to a token (1008), and keeps it out.

    Args:
        client: A Redis client of the caller's.
        user: Every token of this `sub` that was issued (`iat`) up to now or does not say when.
        jti: The one token of this id.
        seconds: How long this is remembered: no less than the tokens' lifetime.

    Raises:
        ValueError: Neither `user` nor `jti` is given.
        redis.RedisError: Redis did not take it.
    """
    for command in _commands(user, jti, seconds):
        client.execute_command(*command)  # type: ignore[no-untyped-call]


async def revoke_async(
    client: AsyncRedis,
    *,
    user: str | None = None,
    jti: str | None = None,
    seconds: int = _DAY_SECONDS,
) -> None:
    """`revoke` for asyncio.

    Raises:
        ValueError: Neither `user` nor `jti` is given.
        redis.RedisError: Redis did not take it.
    """
    for command in _commands(user, jti, seconds):
        await client.execute_command(*command)  # type: ignore[no-untyped-call]


def _commands(user: str | None, jti: str | None, seconds: int) -> list[tuple[Any, ...]]:
    keys = [f"user:{user}"] if user else []
    keys += [f"jti:{jti}"] if jti else []
    if not keys:
        raise ValueError("revoke needs user= or jti=")
    now = int(time.time())
    sets: list[tuple[Any, ...]] = [
        ("SET", REVOKED_PREFIX + key, now, "EX", seconds) for key in keys
    ]
    # After the keys: a token that comes in between finds them.
    told = encode({"type": "revoked", "user": user, "jti": jti})
    return [*sets, ("PUBLISH", redis_channel(HUBS), told)]
