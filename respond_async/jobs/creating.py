"""What handlers, and other code, call."""

from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from respond_async.identity import optional_identity
from respond_async.jobs.record import Job
from respond_async.jobs.runtime import Jobs, current


async def create_task(
    function: object,
    *args: Any,
    name: str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - of the job, not of the call
    priority: int | None = None,
    delay: float = 0.0,
    dedupe_key: str | None = None,
    idempotent: bool | None = None,
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
        kwargs: The function's.

    Raises:
        TaskError: `invalid_arguments` or `unavailable`.
        ConfigurationError: The function is not registered, or there are no jobs in this process.
    """
    return await current().create(
        function, *args, name=name, timeout=timeout, priority=priority, delay=delay, dedupe_key=dedupe_key,
        idempotent=idempotent, **kwargs,
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


class OwnedTasks:
    """The jobs of the caller of a request."""

    def __init__(self, jobs: Jobs, channel: str) -> None:
        self._jobs = jobs
        self._channel = channel

    async def create(self, function: object, *args: Any, **options: Any) -> Job:
        """As `create_task`; the job is the caller's."""
        return await self._jobs.create(function, *args, channel=self._channel, **options)


async def _owned(connection: HTTPConnection) -> OwnedTasks:
    identity = await optional_identity(connection)
    return OwnedTasks(current(), identity.channel if identity else "")


#: `tasks: TaskDependency` in a handler: `await tasks.create(function, ...)`.
TaskDependency = Annotated[OwnedTasks, Depends(_owned)]
