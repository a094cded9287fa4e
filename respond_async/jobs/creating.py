"""What handlers, and other code, call."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from respond_async.identity import optional_identity
from respond_async.jobs.reading import Page, list_page, log_of, watched
from respond_async.jobs.record import Job
from respond_async.jobs.reporting import LogLine
from respond_async.jobs.runtime import Jobs, current
from respond_async.jobs.schedules import Missed, Schedule
from respond_async.jobs.state import Status


async def create_task(
    function: object,
    *args: Any,
    name: str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - of the job, not of the call
    priority: int | None = None,
    delay: float = 0.0,
    dedupe_key: str | None = None,
    idempotent: bool | None = None,
    webhook: str = "",
    concurrency_key: str | None = None,
    **kwargs: Any,
) -> Job:
    """Creates a job that belongs to nobody; in a handler `TaskDependency` gives it an owner.

    Args:
        function: Decorated with `task`, or its registered name.
        args: The function's, validated by its annotations.
        name: What it is listed as; default: the function's.
        timeout: Seconds a run may take; default: the function's, then the configuration's.
        priority: As the broker takes it; default: the function's.
        delay: Seconds before it may begin.
        dedupe_key: A second job of this owner, function and key is the first one, as long as that
            is kept; and a lost run is not repeated.
        idempotent: Whether a lost run may be repeated; default: the function's.
        webhook: Where its end is posted to, signed with TaskConfig.webhook_secret (Standard Webhooks);
            never one that a client names: the worker posts there.
        concurrency_key: Of the jobs of one key, TaskConfig.max_concurrent_per_key run at once.
        kwargs: The function's.

    Raises:
        TaskError: `invalid_arguments` or `unavailable`.
        ConfigurationError: The function is not registered, or there are no jobs in this process.
    """
    return await current().create(
        function, *args, name=name, timeout=timeout, priority=priority, delay=delay, dedupe_key=dedupe_key,
        idempotent=idempotent, webhook=webhook, concurrency_key=concurrency_key, **kwargs,
    )  # fmt: skip


async def get_task(job_id: str) -> Job:
    """The job.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return await current().get(job_id)


async def cancel_task(job_id: str) -> Job:
    """The job: CANCELLED if it was pending; if it runs, its worker ends it soon.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return await current().cancel(job_id)


async def delete_task(job_id: str) -> None:
    """Forgets a job that has ended.

    Raises:
        TaskError: `not_ended` or `unavailable`.
    """
    await current().delete(job_id)


async def retry_task(job_id: str) -> Job:
    """A new job that does again what an ended one did.

    Raises:
        TaskError: `not_found`, `not_ended` or `unavailable`.
    """
    return await current().retry(job_id)


async def list_tasks(
    *,
    status: Status | None = None,
    name: str | None = None,
    channel: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """A page of jobs, the newest first.

    Args:
        status: Only those.
        name: Only those.
        channel: Of one owner: the internal name of a channel; "" for nobody's. Default: of all.
        created_from: None that is older.
        created_to: None that is newer.
        limit: 1000 at most.
        cursor: Of the page before.

    Raises:
        TaskError: `invalid_arguments` or `unavailable`.
    """
    return await list_page(
        current(), status=status, name=name, channel=channel, created_from=created_from,
        created_to=created_to, limit=limit, cursor=cursor,
    )  # fmt: skip


async def task_logs(job_id: str) -> list[LogLine]:
    """What a job logged, the last thousand lines.

    Raises:
        TaskError: `unavailable`.
    """
    return await log_of(current(), job_id)


async def wait_for_task(job_id: str, seconds: float | None = None) -> Job:
    """The job, once it has ended.

    Raises:
        TimeoutError: It has not ended in time.
        TaskError: `not_found` or `unavailable`.
    """
    return await current().wait(job_id, seconds)


def watch(job_id: str) -> AsyncIterator[Job]:
    """The job as it is, and each time it has changed, until it has ended.

    For `async for job in ...`; changes that follow each other fast may be seen as one.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return watched(current(), job_id)


async def create_schedule(
    function: object,
    *args: Any,
    cron: str = "",
    every: float = 0.0,
    timezone: str = "UTC",
    name: str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - of the jobs, not of the call
    missed: Missed = "run_once",
    **kwargs: Any,
) -> Schedule:
    """Creates a job again and again, until it is paused or deleted; `Times` says when.

    Workers fire it, once for each time. The job is as one of `create_task`, and `Job.schedule` its id.

    Args:
        function: Decorated with `task`, or its registered name.
        args: The function's; one that has a name of this function's is given here.
        cron: Five fields: "*/5 * * * *".
        every: Seconds, instead of `cron`; they begin with the creation.
        timezone: Of `cron`, as IANA calls it.
        name: What its jobs are listed as; default: the function's name.
        timeout: Seconds a run may take; default: the function's, then the configuration's.
        missed: Of times at which no worker was there: one job for all of them, or with "skip" none.
        kwargs: The function's.

    Raises:
        TaskError: `invalid_schedule`, `invalid_arguments` or `unavailable`.
        ConfigurationError: The function is not registered, or there are no jobs in this process.
    """
    return await current().schedules.create(
        function, *args, cron=cron, every=every, timezone=timezone, name=name, timeout=timeout,
        missed=missed, **kwargs,
    )  # fmt: skip


async def get_schedule(schedule_id: str) -> Schedule:
    """The schedule.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return await current().schedules.get(schedule_id)


async def list_schedules(channel: str | None = None) -> Sequence[Schedule]:
    """The newest thousand schedules.

    Args:
        channel: Of one owner: the internal name of a channel; "" for nobody's. Default: of all.

    Raises:
        TaskError: `unavailable`.
    """
    return await current().schedules.list(channel)


async def edit_schedule(
    schedule_id: str,
    *,
    cron: str | None = None,
    every: float | None = None,
    timezone: str | None = None,
    name: str | None = None,
    missed: Missed | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Schedule:
    """The schedule, changed where something is given; its jobs of before are as they are.

    Raises:
        TaskError: `not_found`, `invalid_schedule`, `invalid_arguments` or `unavailable`.
    """
    return await current().schedules.edit(
        schedule_id, cron=cron, every=every, timezone=timezone, name=name, missed=missed,
        arguments=arguments,
    )  # fmt: skip


async def pause_schedule(schedule_id: str) -> Schedule:
    """The schedule, at rest; what was due meanwhile is not made up for.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return await current().schedules.pause(schedule_id)


async def resume_schedule(schedule_id: str) -> Schedule:
    """The schedule, due at its next time.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    return await current().schedules.pause(schedule_id, paused=False)


async def delete_schedule(schedule_id: str) -> None:
    """Forgets a schedule; its jobs stay.

    Raises:
        TaskError: `unavailable`.
    """
    await current().schedules.delete(schedule_id)


class OwnedTasks:
    """The jobs of the caller of a request."""

    def __init__(self, jobs: Jobs, channel: str) -> None:
        self._jobs = jobs
        self._channel = channel

    async def create(self, function: object, *args: Any, **options: Any) -> Job:
        """As `create_task`; the job is the caller's."""
        return await self._jobs.create(function, *args, channel=self._channel, **options)

    async def schedule(self, function: object, *args: Any, **options: Any) -> Schedule:
        """As `create_schedule`; the schedule and its jobs are the caller's."""
        schedules = self._jobs.schedules
        return await schedules.create(function, *args, channel=self._channel, **options)


async def _owned(connection: HTTPConnection) -> OwnedTasks:
    identity = await optional_identity(connection)
    return OwnedTasks(current(), identity.channel if identity else "")


#: `tasks: TaskDependency` in a handler: `await tasks.create(function, ...)`.
TaskDependency = Annotated[OwnedTasks, Depends(_owned)]
