"""A job as its owner sees it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from respond_async.jobs.reporting import JobProgress
from respond_async.jobs.state import Status
from respond_async.moments import moment_of
from respond_async.sealing import Sealer


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job did not complete."""

    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    #: Its end, where TaskConfig.keep_tracebacks says so.
    traceback: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What a job was asked for; sealed."""

    #: By name, as JSON.
    arguments: dict[str, Any]
    #: The internal name of the owner's channel; "" for nobody.
    channel: str = ""
    #: Seconds; None: no limit.
    timeout: float | None = None
    #: Where its end is posted to; "" for nowhere.
    webhook: str = ""
    #: The context of the trace that created it, as W3C headers; empty: there are no traces.
    trace: dict[str, str] = field(default_factory=dict)

    def sealed(self, sealer: Sealer, job_id: str) -> str:
        """As it is kept."""
        parts = [self.arguments, self.channel, self.timeout, self.webhook]
        # An older worker cannot read what has a fifth part.
        text = json.dumps([*parts, self.trace] if self.trace else parts)
        return sealer.seal(text.encode(), job_id)

    @classmethod
    def opened(cls, sealer: Sealer, sealed: str, job_id: str) -> "Spec":
        """What was sealed.

        Raises:
            EnvelopeError: It is not ours.
        """
        arguments, channel, timeout, webhook, *more = json.loads(sealer.open(sealed, job_id))
        return cls(
            arguments=arguments, channel=channel, timeout=timeout, webhook=webhook,
            trace=more[0] if more else {},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is known of a job at one moment."""

    id: str
    #: What it was called when it was created; default: the function's.
    name: str
    status: Status
    created: datetime
    started: datetime | None
    completed: datetime | None
    #: When it is tried again, if it waits for that; its status is RUNNING meanwhile.
    retry_at: datetime | None
    #: How often it was begun.
    attempts: int
    #: Whether it is to be cancelled and its run has not ended yet.
    cancelling: bool
    #: Whether a run that was lost may be followed by another.
    idempotent: bool
    #: Grows with each change.
    version: int
    #: As JSON; None unless it completed.
    result: Any
    error: JobError | None
    progress: JobProgress | None
    #: Of its callbacks and webhook: `owed`, `done`, `failed`; None where it has none.
    callbacks: str | None
    #: The id of the schedule that made it; None: none did.
    schedule: str | None
    #: The internal name of the owner's channel; "" for nobody.
    channel: str


_CALLBACKS: Final = {"1": "owed"}


def read_job(fields: Mapping[str, str], sealer: Sealer) -> Job:
    """The job of a record.

    Raises:
        EnvelopeError: It was sealed with another SECRET_KEY.
    """
    job_id = fields["id"]
    status = Status(fields["status"])
    opened = {
        name: json.loads(sealer.open(fields[name], job_id))
        for name in ("result", "error", "progress")
        if name in fields
    }
    error = JobError(**opened["error"]) if opened.get("error") else _error(status, fields)
    return Job(
        id=job_id,
        name=fields["name"],
        status=status,
        created=moment_of(int(fields["created"])),
        started=_moment(fields.get("started")),
        completed=_moment(fields.get("completed")),
        retry_at=_moment(fields.get("retry_at")),
        attempts=int(fields.get("attempts", 0)),
        cancelling=fields.get("cancelling") == "1" and not status.ended,
        idempotent=fields.get("repeatable") == "1",
        version=int(fields.get("version", 0)),
        result=opened.get("result") if status is Status.COMPLETED else None,
        error=error,
        progress=JobProgress(**opened["progress"]) if "progress" in opened else None,
        callbacks=_CALLBACKS.get(fields.get("owed", ""), fields.get("owed")),
        schedule=fields.get("schedule"),
        channel=Spec.opened(sealer, fields["spec"], job_id).channel,
    )


def read_hash(found: Mapping[bytes, bytes]) -> dict[str, str]:
    """A hash as redis-py gives it."""
    return {name.decode(): value.decode() for name, value in found.items()}


def read_fields(flat: list[bytes]) -> dict[str, str]:
    """A hash as a script gives it."""
    texts = [each.decode() for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _error(status: Status, fields: Mapping[str, str]) -> JobError | None:
    if status is Status.CANCELLED:
        return JobError(code="cancelled", message="It was cancelled.")
    if fields.get("lost") == "1" and status is Status.FAILED:
        message = "Its worker died while it ran, and it may not be run again."
        return JobError(code="lost", message=message)
    return None


def _moment(microseconds: str | None) -> datetime | None:
    return moment_of(int(microseconds)) if microseconds else None
