"""Lists of jobs, page by page, and waiting for their end."""

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from respond_async.jobs import scripts
from respond_async.jobs.errors import TaskError
from respond_async.jobs.record import Job, read_fields, read_job
from respond_async.jobs.reporting import LogLine, read_line
from respond_async.jobs.state import Status
from respond_async.moments import microseconds_of

if TYPE_CHECKING:
    from respond_async.jobs.runtime import Jobs

_MOST: Final = 1000
# News may be lost with a worker or a connection: so often it is looked without any.
_LOOK_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Jobs, the newest first."""

    jobs: list[Job]
    #: For the next page; None: there is none.
    cursor: str | None


async def list_page(
    jobs: "Jobs",
    *,
    status: Status | None,
    name: str | None,
    channel: str | None,
    created_from: datetime | None,
    created_to: datetime | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """One page; each filter has a sorted set of its own, so none is read in vain.

    Raises:
        TaskError: `invalid_arguments`: limit or cursor; `unavailable`.
    """
    if not 0 < limit <= _MOST:
        raise TaskError("invalid_arguments", f"limit is from 1 to {_MOST}.")
    place = _read_cursor(cursor) if cursor else ("", "")
    rest = f":o:{jobs.owner(channel)}" if channel is not None else ""
    rest += f":n:{name}" if name is not None else ""
    statuses = list(Status) if status is None else [status]
    lists = [f"{scripts.PREFIX}in:{each}{rest}" for each in statuses]
    # One more than asked for: says whether there is another page.
    rows = await jobs.script(
        scripts.PAGE, limit + 1, *place, _score(created_from, "-inf"), _score(created_to, "+inf"),
        *lists,
    )  # fmt: skip
    records = [read_fields(row) for row in rows if row]
    page = [read_job(each, jobs.sealer) for each in records[:limit]]
    if len(records) <= limit:
        return Page(jobs=page, cursor=None)
    last = records[limit - 1]
    text = f"{last['created']}.{last['id']}"
    return Page(jobs=page, cursor=base64.urlsafe_b64encode(text.encode()).decode())


async def log_of(jobs: "Jobs", job_id: str) -> list[LogLine]:
    """What a job logged, the oldest first.

    Raises:
        TaskError: `unavailable`.
    """
    async with jobs.answering():
        client: Any = jobs.client()
        lines = await client.lrange(f"{scripts.PREFIX}log:{job_id}", 0, -1)
    return [read_line(jobs.sealer.open(line.decode(), job_id)) for line in lines]


async def watched(jobs: "Jobs", job_id: str) -> AsyncGenerator[Job, None]:
    """The job as it is, then each time it changed, until it has ended.

    Changes that follow each other fast may be seen as one.

    Raises:
        TaskError: `not_found` or `unavailable`.
    """
    job = await jobs.get(job_id)
    channel = jobs.channel_of(job)
    yield job
    seen = job.version
    while not job.status.ended:

        async def look(seen: int = seen) -> Job | None:
            now = await jobs.get(job_id)
            return now if now.version > seen else None

        found = await jobs.waits.until(channel, job_id, _LOOK_SECONDS, look)
        if found is not None:
            job, seen = found, found.version
            yield job


def _score(moment: datetime | None, otherwise: str) -> str:
    if moment is None:
        return otherwise
    if moment.tzinfo is None:
        raise TaskError("invalid_arguments", f"{moment} has no time zone.")
    return str(microseconds_of(moment))


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    microseconds, _, job_id = text.partition(".")
    if not microseconds.isdigit() or len(microseconds) > 17 or not job_id:  # noqa: PLR2004
        raise TaskError("invalid_arguments", "The cursor is none of ours.")
    return microseconds, job_id
