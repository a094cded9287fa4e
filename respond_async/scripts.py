"""Lua scripts on the worker's Redis: each is one round trip, or a part of one.

A task on the asyncio pool's loop awaits its script, and all scripts that wait at one moment go out
together: hundreds of replays share a round trip. Anywhere else a script is a call that blocks.
"""

from collections.abc import Sequence
from typing import Any, Final

import redis.asyncio

from respond_async.connections import worker_redis, worker_redis_on_loop
from respond_async.pool import await_, before_stop, in_bridge
from respond_async.settings import Settings
from ws_hub import Script, SharedPipeline


class Scripts:
    """Runs scripts. A script must bear to be run twice: a connection may be lost after it ran.

    Args:
        settings: Where Redis is, and how long it may take.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        #: For what is no script; calls on it block.
        self.connection: Final = worker_redis(settings)
        self._on_loop: Final = SharedPipeline(self._connect)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        """What the script returns.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        if in_bridge():
            return await_(script.run_async(self._on_loop, keys, args))
        return script.run(self.connection, keys, args)

    def _connect(self) -> redis.asyncio.Redis:
        before_stop(self._on_loop.close)
        return worker_redis_on_loop(self._settings)
