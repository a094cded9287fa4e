"""Schedules: kept in Redis, seen and changed there, fired by the workers themselves."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from respond_async.jobs import schedule_scripts
from respond_async.jobs.definition import DEFINITIONS, Definition, definition_of
from respond_async.jobs.errors import TaskError
from respond_async.jobs.prelude import PREFIX
from respond_async.jobs.record import Spec, read_fields, read_hash
from respond_async.jobs.times import Times
from respond_async.moments import microseconds_of, moment_of

if TYPE_CHECKING:
    from respond_async.jobs.runtime import Jobs
    from respond_async.sealing import Sealer

logger = logging.getLogger(__name__)

#: What becomes of a time at which no worker was there: one job for all of them, or none.
Missed = Literal["run_once", "skip"]

# Later than that a time is missed: workers look once a second.
_LATE: Final = timedelta(seconds=60)
_MOST: Final = 1000
_NAMESPACE: Final = uuid.UUID("5f0d3c5e-6f0c-4a2b-9a43-0d3b8a3c1f6e")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What is known of a schedule at one moment."""

    id: str
    #: What its jobs are called; default: their function's name.
    name: str
    #: The registered name.
    function: str
    #: By name, as JSON.
    arguments: dict[str, Any]
    times: Times
    missed: Missed
    paused: bool
    created: datetime
    #: When it is due; None while it is paused.
    next: datetime | None
    #: The last time for which a job was made, and that job.
    last: datetime | None
    last_job: str | None
    #: For how many times a job was made.
    fired: int
    #: How many times were left out: missed, with `skip`.
    skipped: int
    #: Grows with each change.
    version: int
    #: The internal name of its owner's channel; "" for nobody.
    channel: str


class Schedules:
    """The schedules of a process's jobs.

    Args:
        jobs: Where they are kept.
    """

    def __init__(self, jobs: "Jobs") -> None:
        self._jobs: Final = jobs

    async def create(
        self,
        function: object,
        *args: Any,
        cron: str = "",
        every: float = 0.0,
        timezone: str = "UTC",
        name: str | None = None,
        channel: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - of the jobs, not of the call
        missed: Missed = "run_once",
        **kwargs: Any,
    ) -> Schedule:
        """A schedule: `create_schedule`.

        Raises:
            TaskError: `invalid_schedule`, `invalid_arguments`, `too_many` or `unavailable`.
            ConfigurationError: The function is not registered.
        """
        return await self.create_with(
            definition_of(function), args, kwargs, cron=cron, every=every, timezone=timezone, name=name,
            channel=channel, timeout=timeout, missed=missed,
        )  # fmt: skip

    async def create_with(
        self,
        definition: Definition,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        cron: str = "",
        every: float = 0.0,
        timezone: str = "UTC",
        name: str | None = None,
        channel: str = "",
        timeout: float | None = None,  # noqa: ASYNC109
        missed: Missed = "run_once",
    ) -> Schedule:
        """The same, with the function's arguments apart: they may be called as ours are.

        Raises:
            TaskError: As `create`.
        """
        times = Times(cron=cron, every=every, timezone=timezone)
        spec = Spec(
            arguments=definition.arguments.to_json(args, kwargs),
            channel=channel,
            timeout=timeout,
        )
        schedule_id = str(uuid.uuid4())
        now = await self._now()
        fields = {
            "name": name or definition.name, "function": definition.name, "missed": _checked(missed),
            "spec": spec.sealed(self._jobs.sealer, schedule_id), **times.fields(),
        }  # fmt: skip
        most = self._jobs.config.max_schedules_per_owner or 0
        made = await self._jobs.script(
            schedule_scripts.CREATE, schedule_id, self._jobs.owner(channel), most if channel else 0,
            microseconds_of(times.after(now)), *_flat(fields),
        )  # fmt: skip
        if not made:
            raise TaskError("too_many", f"There are {most} schedules already: delete one first.")
        return await self.get(schedule_id)

    async def get(self, schedule_id: str) -> Schedule:
        """The schedule.

        Raises:
            TaskError: `not_found` or `unavailable`.
        """
        async with self._jobs.answering():
            client: Any = self._jobs.client()
            found = await client.hgetall(f"{PREFIX}schedule:{schedule_id}")
        if not found:
            raise TaskError("not_found", "There is no such schedule, or no more.")
        return read_schedule(read_hash(found), self._jobs.sealer)

    async def list(self, channel: str | None = None) -> "Sequence[Schedule]":
        """The newest thousand, of one owner or of all; "" is nobody.

        Raises:
            TaskError: `unavailable`.
        """
        owner = "" if channel is None else self._jobs.owner(channel)
        rows = await self._jobs.script(schedule_scripts.LIST, owner, _MOST)
        return [read_schedule(read_fields(row), self._jobs.sealer) for row in rows if row]

    async def edit(
        self,
        schedule_id: str,
        *,
        cron: str | None = None,
        every: float | None = None,
        timezone: str | None = None,
        name: str | None = None,
        missed: Missed | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """The schedule, changed where something is given; what runs already runs on as it was.

        Raises:
            TaskError: `not_found`, `invalid_schedule`, `invalid_arguments` or `unavailable`.
        """
        while True:
            old = await self.get(schedule_id)
            times = Times(
                cron=old.times.cron if cron is None and every is None else cron or "",
                every=old.times.every if cron is None and every is None else every or 0.0,
                timezone=old.times.timezone if timezone is None else timezone,
            )
            fields = {
                "name": name or old.name,
                "missed": _checked(missed or old.missed),
                **times.fields(),
            }
            if arguments is not None:
                fields["spec"] = await self._spec(old, arguments)
            if await self._changed(old, times, fields):
                return await self.get(schedule_id)

    async def pause(self, schedule_id: str, *, paused: bool = True) -> Schedule:
        """The schedule, at rest until it is resumed; times meanwhile are not made up for.

        Raises:
            TaskError: `not_found` or `unavailable`.
        """
        while True:
            old = await self.get(schedule_id)
            if old.paused is paused:
                return old
            if await self._changed(old, old.times, {"paused": str(int(paused))}):
                return await self.get(schedule_id)

    async def delete(self, schedule_id: str) -> None:
        """Forgets it; jobs that it made stay.

        Raises:
            TaskError: `unavailable`.
        """
        await self._jobs.script(schedule_scripts.DELETE, schedule_id)

    async def _spec(self, old: Schedule, arguments: Mapping[str, Any]) -> str:
        definition = definition_of(old.function)
        given = definition.arguments.to_json((), definition.arguments.of_names(arguments))
        async with self._jobs.answering():
            client: Any = self._jobs.client()
            sealed = await client.hget(f"{PREFIX}schedule:{old.id}", "spec")
        spec = Spec.opened(self._jobs.sealer, sealed.decode(), old.id)
        changed = Spec(arguments=given, channel=spec.channel, timeout=spec.timeout)
        return changed.sealed(self._jobs.sealer, old.id)

    async def _changed(self, old: Schedule, times: Times, fields: Mapping[str, str]) -> bool:
        # One that is called something else is due when it was.
        moment = old.next if times == old.times else None
        due = microseconds_of(moment or times.after(await self._now()))
        return bool(
            await self._jobs.script(
                schedule_scripts.CHANGE, old.id, old.version, due, *_flat(fields)
            )
        )

    async def _now(self) -> datetime:
        return moment_of(int(await self._jobs.script(schedule_scripts.NOW)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """What a worker that saw a schedule due asks of Redis."""

    #: The job's id; "" if this time is left out.
    job_id: str
    #: Of `schedule_scripts.FIRE`.
    args: tuple[str | int, ...]


def firing(fields: Mapping[str, str], now: int, jobs: "Jobs") -> Firing | None:
    """What is to become of a schedule that is due; None: this worker does not know its function.

    Args:
        fields: As they are kept.
        now: Microseconds.
        jobs: Of the worker.
    """
    definition: Definition | None = DEFINITIONS.get(fields["function"])
    if definition is None:
        logger.error("%s is not registered in this worker: its schedule waits", fields["function"])
        return None
    schedule = read_schedule(fields, jobs.sealer)
    assert schedule.next is not None
    moment = moment_of(now)
    following = microseconds_of(schedule.times.after(moment, schedule.next))
    claim = (schedule.id, schedule.version, fields["next"], following)
    if schedule.missed == "skip" and moment - schedule.next > _LATE:
        return Firing(job_id="", args=(*claim, "", ""))
    # Of the time, so that whoever makes it makes the same.
    job_id = str(uuid.uuid5(_NAMESPACE, f"{schedule.id} {fields['next']}"))
    kept = Spec.opened(jobs.sealer, fields["spec"], schedule.id)
    spec = Spec(
        arguments=kept.arguments,
        channel=kept.channel,
        timeout=jobs.timeout_of(definition, kept.timeout),
    )
    record = jobs.fields(definition, spec, job_id, name=schedule.name)
    hub = jobs.hub(spec.channel, job_id)
    return Firing(job_id=job_id, args=(*claim, job_id, hub, *record, "schedule", schedule.id))


def read_schedule(fields: Mapping[str, str], sealer: "Sealer") -> Schedule:
    """The schedule of a hash.

    Raises:
        EnvelopeError: It was sealed with another SECRET_KEY.
    """
    spec = Spec.opened(sealer, fields["spec"], fields["id"])
    paused = fields.get("paused") == "1"
    return Schedule(
        id=fields["id"],
        name=fields["name"],
        function=fields["function"],
        arguments=spec.arguments,
        times=Times(cron=fields["cron"], every=float(fields["every"]), timezone=fields["timezone"]),
        missed="skip" if fields["missed"] == "skip" else "run_once",
        paused=paused,
        created=moment_of(int(fields["created"])),
        next=None if paused else moment_of(int(fields["next"])),
        last=moment_of(int(fields["last"])) if "last" in fields else None,
        last_job=fields.get("last_job"),
        fired=int(fields.get("fired", 0)),
        skipped=int(fields.get("skipped", 0)),
        version=int(fields["version"]),
        channel=spec.channel,
    )


def _checked(missed: str) -> Missed:
    if missed not in ("run_once", "skip"):
        raise TaskError("invalid_schedule", 'missed is "run_once" or "skip".')
    return "skip" if missed == "skip" else "run_once"


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [each for pair in fields.items() for each in pair]
