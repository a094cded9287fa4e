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
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from time import sleep
from typing import Final

import redis

from respond_async.accepted import key
from respond_async.scripts import Scripts
from ws_hub import Script

logger = logging.getLogger(__name__)

#: A worker that was lost keeps others waiting so long.
LEASE_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 3.0

# So many leases a command: 5,000 take Redis some milliseconds, and nobody waits so long.
_AT_ONCE: Final = 500

# Only who holds a lease may renew it. KEYS: leases. ARGV: milliseconds, then the holder of each.
_RENEW: Final = Script("""
for place, lease in ipairs(KEYS) do
  if redis.call('get', lease) == ARGV[place + 1] then redis.call('pexpire', lease, ARGV[1]) end
end
return #KEYS
""")


class Leases:
    """The leases that this process holds; a thread renews them while there are any.

    `runs` takes them and gives them back, with what else begins and ends a run.

    Args:
        scripts: The worker's Redis.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._lock = Lock()
        self._held: dict[str, str] = {}
        self._pid = 0
        self._any_held = Event()
        self._numbers = count(1)
        self._prefix = ""

    def new_holder(self) -> str:
        """Who takes a lease: this process, this time."""
        with self._lock:
            if self._pid != os.getpid():
                self._start()
        return f"{self._prefix}{next(self._numbers)}"

    def keep(self, task_id: str, holder: str) -> None:
        """Renews a lease that was taken, until `drop`."""
        with self._lock:
            self._held[task_id] = holder
            if not self._any_held.is_set():
                self._any_held.set()

    def holder(self, task_id: str) -> str:
        """By what name this process holds a lease; "" if it does not."""
        return self._held.get(task_id, "") if self._pid == os.getpid() else ""

    def drop(self, task_id: str) -> str:
        """Renews a lease no more; gives what `holder` gave."""
        if self._pid != os.getpid():
            return ""
        with self._lock:
            holder = self._held.pop(task_id, "")
            if not self._held:
                self._any_held.clear()
        return holder

    def _start(self) -> None:
        # A process that was forked has neither the thread nor the leases of the one before.
        self._pid = os.getpid()
        self._prefix = f"{place()}|{self._pid}|{uuid.uuid4()}."
        self._held.clear()
        self._any_held = Event()
        Thread(target=self._renew, name="respond_async.leases", daemon=True).start()

    def _renew(self) -> None:
        while True:
            self._any_held.wait()
            sleep(_RENEW_SECONDS)
            with self._lock:
                held = list(self._held.items())
            try:
                for start in range(0, len(held), _AT_ONCE):
                    some = held[start : start + _AT_ONCE]
                    self._scripts.run(
                        _RENEW,
                        [key("running", task_id) for task_id, _ in some],
                        [int(LEASE_SECONDS * 1000), *(holder for _, holder in some)],
                    )
            except (redis.RedisError, OSError) as error:
                logger.warning("leases were not renewed, requests may run twice: %s", error)


def place() -> str:
    """This machine or container: where process ids mean the same."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.exists() else ''}"


def is_dead(holder: str) -> bool:
    """Whether the holder is a process of this machine that is no more; no if it is elsewhere."""
    there, _, rest = holder.partition("|")
    pid = rest.partition("|")[0]
    if there != place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
