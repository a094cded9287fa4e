"""The runs of this process: their leases are renewed, and those that are cancelled hear of it."""

import logging
import os
from itertools import count
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import uuid4

import redis

from respond_async.jobs import scripts
from respond_async.jobs.execution import Execution
from respond_async.jobs.reporting import LINES_KEPT, progress_json
from respond_async.leases import place
from respond_async.scripts import Scripts
from respond_async.sealing import Sealer

logger = logging.getLogger(__name__)

#: A worker that was lost keeps a job so long.
LEASE_MILLISECONDS: Final = 10_000
_RENEW_SECONDS: Final = 3.0
_AT_ONCE: Final = 500
# The subscription outlives the last run by so much: the next one's begin does not wait for it.
_LINGER_SECONDS: Final = 5.0
# How often what runs say is sent.
_REPORT_SECONDS: Final = 0.25


class _Run(NamedTuple):
    holder: str
    hub: str
    execution: Execution


class Keeper:
    """Keeps leases, in a thread that runs while there are any.

    A cancellation is published, and seen at the next renewal if that was missed.

    Args:
        connection: The worker's Redis.
        sealer: For jobs.
    """

    def __init__(self, connection: Scripts, sealer: Sealer) -> None:
        self._sealer: Final = sealer
        self._scripts: Final = connection
        self._lock: Final = Lock()
        self._runs: dict[str, _Run] = {}
        self._any = Event()
        self._pid = 0
        self._prefix = ""
        self._numbers: Final = count(1)

    def new_holder(self) -> str:
        """Who begins a run: this process, this time."""
        with self._lock:
            if self._pid != os.getpid():
                # A process that was forked has neither the thread nor the runs of the one before.
                self._pid = os.getpid()
                self._prefix = f"{place()}|{self._pid}|{uuid4()}."
                self._runs = {}
                self._any = Event()
                Thread(target=self._keep, name="respond_async.jobs", daemon=True).start()
        return f"{self._prefix}{next(self._numbers)}"

    def add(self, job_id: str, holder: str, hub: str, execution: Execution) -> None:
        """Keeps the lease of a run until `drop`."""
        with self._lock:
            self._runs[job_id] = _Run(holder, hub, execution)
            self._any.set()

    def drop(self, job_id: str) -> None:
        """Keeps it no more."""
        with self._lock:
            self._runs.pop(job_id, None)
            if not self._runs:
                self._any.clear()

    def report(self, job_id: str, *, last: bool = False) -> None:
        """Sends what a run has said and was not sent yet.

        Args:
            job_id: The run's job.
            last: It has ended: that it began need not be said any more.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        with self._lock:
            run = self._runs.get(job_id)
        said = run.execution.report.taken() if run is not None else None
        if run is None or said is None or (last and said == (None, [])):
            return
        progress, lines = said
        shown = progress_json(progress)
        sealed = self._sealer.seal(shown.encode(), job_id) if shown else ""
        self._scripts.run(
            scripts.REPORT,
            [],
            [
                job_id, run.holder, run.hub, shown, sealed, LINES_KEPT,
                *(self._sealer.seal(line.encode(), job_id) for line in lines),
            ],
        )  # fmt: skip

    def _keep(self) -> None:
        while True:
            self._any.wait()
            try:
                with self._scripts.connection.pubsub() as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(scripts.CANCEL_CHANNEL)
                    self._listen(pubsub)
            except (redis.RedisError, OSError) as error:
                logger.warning("leases of jobs were not renewed, jobs may run twice: %s", error)
                Event().wait(1)

    def _listen(self, pubsub: Any) -> None:
        # At once: what was cancelled before the subscription is seen.
        renew_at = report_at = idle_at = 0.0
        while True:
            if self._any.is_set():
                idle_at = 0.0
            elif not idle_at:
                idle_at = monotonic()
            elif monotonic() - idle_at > _LINGER_SECONDS:
                return
            if monotonic() >= renew_at:
                renew_at = monotonic() + _RENEW_SECONDS
                self.renew()
            message = pubsub.get_message(timeout=_REPORT_SECONDS)
            if message and message["type"] == "message":
                self.cancel(message["data"].decode())
            elif monotonic() >= report_at:
                report_at = monotonic() + _REPORT_SECONDS
                for job_id in list(self._runs):
                    self.report(job_id)

    def renew(self) -> None:
        """Renews all leases now; ends the runs that are cancelled, or another's by now.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        with self._lock:
            held = [(job_id, run.holder) for job_id, run in self._runs.items()]
        for start in range(0, len(held), _AT_ONCE):
            flat = [each for pair in held[start : start + _AT_ONCE] for each in pair]
            over = self._scripts.run(scripts.RENEW, [], [LEASE_MILLISECONDS, *flat])
            for job_id in over:
                self.cancel(job_id.decode())

    def cancel(self, job_id: str) -> None:
        """Ends the run of a job, if it is here."""
        with self._lock:
            known = self._runs.get(job_id)
        if known is not None:
            known.execution.cancel()
