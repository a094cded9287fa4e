"""One run of a request at a time, over all workers.

A broker delivers a message again while its first copy still runs: a partition moved to another
worker, a visibility timeout ran out. The second copy waits here until the first has stored its
result, and returns that one; or until the first is dead, and runs.

In Redis, `respond_async:running:{id}` holds who runs it, and ends by itself some seconds after its
worker did.
"""

import logging
import os
import socket
import uuid
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep
from typing import Final

import redis

logger = logging.getLogger(__name__)

#: A worker that was lost keeps others waiting so long.
LEASE_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 3.0

# Only who holds a lease may renew or end it. KEYS[1]: the lease, ARGV[1]: the holder.
_RENEW: Final = """
return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0
"""
_END: Final = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"


class Leases:
    """The leases of one process; a thread renews them while there are any.

    Args:
        connection: The worker's Redis.
    """

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._lock = Lock()
        self._held: dict[str, str] = {}
        self._pid = 0
        self._any_held = Event()

    def take(self, task_id: str) -> bool:
        """Whether this process alone runs the request now; if not, ask again a little later.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        key = _key(task_id)
        holder = f"{_place()}|{os.getpid()}|{uuid.uuid4()}"
        if not self._redis.set(key, holder, nx=True, px=int(LEASE_SECONDS * 1000)):
            other = self._redis.get(key)
            if isinstance(other, bytes) and _is_dead(other.decode("utf-8", "replace")):
                self._redis.eval(_END, 1, key, other)
            return False
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            self._held[task_id] = holder
            self._any_held.set()
        return True

    def give_back(self, task_id: str) -> None:
        """The request's result is stored, or it does not run; never raises."""
        with self._lock:
            holder = self._held.pop(task_id, None)
            if not self._held:
                self._any_held.clear()
        if holder is not None:
            try:
                self._redis.eval(_END, 1, _key(task_id), holder)
            except (redis.RedisError, OSError) as error:
                logger.warning("lease of %s ends by itself: %s", task_id, error)

    def _start(self) -> None:
        # A process that was forked has neither the thread nor the leases of the one before.
        self._pid = os.getpid()
        self._held.clear()
        self._any_held = Event()
        Thread(target=self._renew, name="respond_async.leases", daemon=True).start()

    def _renew(self) -> None:
        while True:
            self._any_held.wait()
            sleep(_RENEW_SECONDS)
            with self._lock:
                held = dict(self._held)
            if not held:
                continue
            try:
                with self._redis.pipeline(transaction=False) as pipe:
                    for task_id, holder in held.items():
                        pipe.eval(_RENEW, 1, _key(task_id), holder, int(LEASE_SECONDS * 1000))
                    pipe.execute()
            except (redis.RedisError, OSError) as error:
                logger.warning("leases were not renewed, requests may run twice: %s", error)


def _key(task_id: str) -> str:
    return f"respond_async:running:{task_id}"


def _place() -> str:
    """This machine or container: where process ids mean the same."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.exists() else ''}"


def _is_dead(holder: str) -> bool:
    """Whether the holder is a process of this machine that is no more; no if it is elsewhere."""
    place, _, rest = holder.partition("|")
    pid = rest.partition("|")[0]
    if place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
