"""Schedules over HTTP: `/api/v1/schedules/`. A caller sees its own alone, as with jobs."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from respond_async.jobs.definition import DEFINITIONS
from respond_async.jobs.errors import TaskError
from respond_async.jobs.runtime import Jobs
from respond_async.jobs.schedules import Missed, Schedule, Schedules
from respond_async.ownership import Ownership

PATH: Final = "/api/v1/schedules/"
_ONE: Final = PATH + "{schedule_id}/"


class ScheduleRequest(BaseModel):
    """What is to be run, and when."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="A registered name.")
    arguments: dict[str, Any] = {}
    cron: str = Field(max_length=200, description="Five fields.", examples=["*/5 * * * *"])
    timezone: str = Field(default="UTC", max_length=100, examples=["Europe/Berlin"])
    missed: Missed = "run_once"


class ScheduleChange(BaseModel):
    """What is to be different."""

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any] | None = None
    cron: str | None = Field(default=None, min_length=1, max_length=200)
    timezone: str | None = Field(default=None, min_length=1, max_length=100)
    missed: Missed | None = None


class ScheduleView(BaseModel):
    """A schedule as its owner sees it."""

    id: str
    name: str
    arguments: dict[str, Any]
    cron: str
    every: float
    timezone: str
    missed: Missed
    paused: bool
    created: datetime
    next: datetime | None
    last: datetime | None
    last_job: str | None
    fired: int
    skipped: int
    version: int

    @classmethod
    def of(cls, schedule: Schedule) -> "ScheduleView":
        """Everything but the channel."""
        times = schedule.times
        names = cls.model_fields.keys() - {"cron", "every", "timezone"}
        fields = {name: getattr(schedule, name) for name in names}
        return cls(**fields, cron=times.cron, every=times.every, timezone=times.timezone)


class ScheduleList(BaseModel):
    """Schedules, the newest first."""

    schedules: list[ScheduleView]


def add_schedules(app: FastAPI, jobs: Jobs, ownership: Ownership) -> None:
    """Adds the endpoints."""

    async def caller(
        request: Request,
        channel: Annotated[str | None, Query(description="Of an anonymous caller.")] = None,
    ) -> str:
        return await ownership.channel(request, channel)

    async def owned(schedule_id: str, caller: Annotated[str, Depends(caller)]) -> Schedule:
        schedule = await jobs.schedules.get(schedule_id)
        if schedule.channel != caller:
            raise TaskError("not_found", "There is no such schedule, or no more.")
        return schedule

    _add_to_all(app, jobs.schedules, Annotated[str, Depends(caller)])
    _add_to_one(app, jobs.schedules, Annotated[Schedule, Depends(owned)])


def _add_to_all(app: FastAPI, schedules: Schedules, owner: Any) -> None:
    @app.post(PATH, status_code=201, tags=["schedules"])
    async def create_schedule(
        asked: ScheduleRequest, caller: owner, response: Response
    ) -> ScheduleView:
        definition = DEFINITIONS.get(asked.name)
        if definition is None or not definition.public:
            raise TaskError("invalid_arguments", f'There is no task "{asked.name[:100]}".')
        made = await schedules.create_with(
            definition, (), definition.arguments.of_names(asked.arguments), channel=caller,
            cron=asked.cron, timezone=asked.timezone, missed=asked.missed,
        )  # fmt: skip
        response.headers["Location"] = _ONE.format(schedule_id=made.id)
        return ScheduleView.of(made)

    @app.get(PATH, tags=["schedules"])
    async def list_schedules(caller: owner) -> ScheduleList:
        found = await schedules.list(caller)
        return ScheduleList(schedules=[ScheduleView.of(each) for each in found])


def _add_to_one(app: FastAPI, schedules: Schedules, mine: Any) -> None:
    @app.get(_ONE, tags=["schedules"])
    async def get_schedule(schedule: mine) -> ScheduleView:
        return ScheduleView.of(schedule)

    @app.patch(_ONE, tags=["schedules"])
    async def edit_schedule(schedule: mine, change: ScheduleChange) -> ScheduleView:
        return ScheduleView.of(await schedules.edit(schedule.id, **change.model_dump()))

    @app.post(_ONE + "pause", tags=["schedules"])
    async def pause_schedule(schedule: mine) -> ScheduleView:
        return ScheduleView.of(await schedules.pause(schedule.id))

    @app.post(_ONE + "resume", tags=["schedules"])
    async def resume_schedule(schedule: mine) -> ScheduleView:
        return ScheduleView.of(await schedules.pause(schedule.id, paused=False))

    @app.delete(_ONE, status_code=204, tags=["schedules"])
    async def delete_schedule(schedule: mine) -> None:
        await schedules.delete(schedule.id)
