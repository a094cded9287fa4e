"""Jobs over HTTP: `/api/v1/tasks/`, with schedules beside it. A caller sees its own jobs alone; others' are unknown to it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from respond_async.capture_point import CapturePoint
from respond_async.identity import Identities
from respond_async.jobs.definition import DEFINITIONS, Definition
from respond_async.jobs.errors import TaskError
from respond_async.jobs.reading import list_page, log_of, watched
from respond_async.jobs.record import Job, JobError
from respond_async.jobs.reporting import JobProgress, LogLine
from respond_async.jobs.runtime import Jobs
from respond_async.jobs.schedules_http import add_schedules
from respond_async.jobs.state import Status
from respond_async.ownership import Ownership
from respond_async.problems import Problem, answer_problem
from respond_async.task_ids import TaskIds

PATH: Final = "/api/v1/tasks/"
_JOB: Final = PATH + "{task_id}/"
# Proxies end a connection that is silent for a minute or so.
_SILENCE_SECONDS: Final = 15.0
_STATUSES: Final = {
    "invalid_arguments": 422,
    "invalid_schedule": 422,
    "too_many": 409,
    "not_found": 404,
    "not_ended": 409,
    "unavailable": 503,
}


class TaskRequest(BaseModel):
    """What is to be run."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="A registered name.")
    arguments: dict[str, Any] = {}
    delay: float = Field(default=0.0, ge=0, le=31_536_000, description="Seconds.")
    dedupe_key: str | None = Field(default=None, max_length=200)


class TaskView(BaseModel):
    """A job as its owner sees it."""

    id: str
    name: str
    status: Status
    created: datetime
    started: datetime | None
    completed: datetime | None
    retry_at: datetime | None
    attempts: int
    cancelling: bool
    idempotent: bool
    schedule: str | None
    version: int
    progress: JobProgress | None
    result: Any
    error: JobError | None

    @classmethod
    def of(cls, job: Job) -> "TaskView":
        """Everything but the channel, which for an anonymous owner is a secret."""
        fields = {name: getattr(job, name) for name in cls.model_fields}
        return cls(**fields)


class TaskProgress(BaseModel):
    """How far a job is."""

    status: Status
    progress: JobProgress | None


class TaskList(BaseModel):
    """Jobs, the newest first."""

    tasks: list[TaskView]
    cursor: str | None


async def answer_task_error(request: Request, error: Exception) -> Response:
    """The exception handler of `TaskError`: RFC 9457, with the code; codes of users' own are a 400."""
    assert isinstance(error, TaskError)
    headers = {"Retry-After": "1"} if error.code == "unavailable" else None
    status = _STATUSES.get(error.code, 400)
    details = {"details": jsonable_encoder(error.details)} if error.details else {}
    problem = Problem(status, error.message, headers, code=error.code, **details)
    return await answer_problem(request, problem)


def install_tasks(app: FastAPI, jobs: Jobs) -> None:
    """Adds the endpoints and the exception handlers to an app, and the jobs' end to its lifespan.

    Functions that are decorated with `@task(public=True)` can be created by whoever may ask the app.
    """
    app.add_exception_handler(TaskError, answer_task_error)
    app.add_exception_handler(Problem, answer_problem)
    before = list(app.router.routes)
    ownership = Ownership(Identities(jobs.settings, jobs.redis), TaskIds(jobs.settings))
    _Endpoints(jobs, ownership).add_to(app)
    add_schedules(app, jobs, ownership)
    ours = [route for route in app.router.routes if route not in before]
    if isinstance(app.router.middleware_stack, CapturePoint):
        app.router.middleware_stack.exempt(ours)
    _describe(app)
    _close_with(app, jobs)


def _close_with(app: FastAPI, jobs: Jobs) -> None:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(scoped: Any) -> AsyncIterator[Any]:
        async with inner(scoped) as state:
            try:
                yield state
            finally:
                await jobs.close()

    app.router.lifespan_context = lifespan


class _Endpoints:
    def __init__(self, jobs: Jobs, ownership: Ownership) -> None:
        self._jobs: Final = jobs
        self._ownership: Final = ownership

    def add_to(self, app: FastAPI) -> None:
        ownership = self._ownership

        async def caller(
            request: Request,
            channel: Annotated[str | None, Query(description="Of an anonymous caller.")] = None,
        ) -> str:
            return await ownership.channel(request, channel)

        owner = Annotated[str, Depends(caller)]
        self._add_to_all(app, owner)
        self._add_to_one(app, owner)
        self._add_ends(app, owner)

    def _add_to_all(self, app: FastAPI, owner: Any) -> None:
        jobs = self._jobs

        @app.post(PATH, status_code=201, tags=["tasks"])
        async def create_task(asked: TaskRequest, caller: owner, response: Response) -> TaskView:
            definition = DEFINITIONS.get(asked.name)
            if definition is None or not definition.public:
                raise TaskError("invalid_arguments", f'There is no task "{asked.name[:100]}".')
            arguments = definition.arguments.of_names(asked.arguments)
            job = await jobs.create(
                asked.name, channel=caller, delay=asked.delay, dedupe_key=asked.dedupe_key,
                **arguments,
            )  # fmt: skip
            response.headers["Location"] = _JOB.format(task_id=job.id)
            return TaskView.of(job)

        @app.get(PATH, tags=["tasks"])
        async def list_tasks(  # noqa: PLR0917 - FastAPI names them
            caller: owner,
            status: Status | None = None,
            name: str | None = None,
            created_from: datetime | None = None,
            created_to: datetime | None = None,
            limit: Annotated[int, Query(ge=1, le=1000)] = 50,
            cursor: str | None = None,
        ) -> TaskList:
            page = await list_page(
                jobs, channel=caller, status=status, name=name, created_from=created_from,
                created_to=created_to, limit=limit, cursor=cursor,
            )  # fmt: skip
            return TaskList(tasks=[TaskView.of(job) for job in page.jobs], cursor=page.cursor)

    def _add_to_one(self, app: FastAPI, owner: Any) -> None:
        jobs = self._jobs

        @app.get(_JOB, tags=["tasks"])
        async def get_task(task_id: str, caller: owner) -> TaskView:
            return TaskView.of(await self._owned(task_id, caller))

        @app.get(_JOB + "progress", tags=["tasks"])
        async def get_progress(task_id: str, caller: owner) -> TaskProgress:
            job = await self._owned(task_id, caller)
            return TaskProgress(status=job.status, progress=job.progress)

        @app.get(_JOB + "logs", tags=["tasks"])
        async def get_logs(task_id: str, caller: owner) -> list[LogLine]:
            await self._owned(task_id, caller)
            return await log_of(jobs, task_id)

        @app.get(
            _JOB + "events",
            tags=["tasks"],
            response_class=StreamingResponse,
            responses={200: {"content": {"text/event-stream": {}}}},
        )
        async def events(task_id: str, caller: owner) -> StreamingResponse:
            await self._owned(task_id, caller)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(
                self._events(task_id), media_type="text/event-stream", headers=headers
            )

    def _add_ends(self, app: FastAPI, owner: Any) -> None:
        jobs = self._jobs

        @app.post(_JOB + "cancel", tags=["tasks"])
        async def cancel_task(task_id: str, caller: owner) -> TaskView:
            await self._owned(task_id, caller)
            return TaskView.of(await jobs.cancel(task_id))

        @app.post(_JOB + "retry", status_code=201, tags=["tasks"])
        async def retry_task(task_id: str, caller: owner, response: Response) -> TaskView:
            await self._owned(task_id, caller)
            job = await jobs.retry(task_id)
            response.headers["Location"] = _JOB.format(task_id=job.id)
            return TaskView.of(job)

        @app.delete(_JOB, status_code=204, tags=["tasks"])
        async def delete_task(task_id: str, caller: owner) -> None:
            await self._owned(task_id, caller)
            await jobs.delete(task_id)

    async def _owned(self, task_id: str, channel: str) -> Job:
        job = await self._jobs.get(task_id)
        if job.channel != channel:
            # As one that is not there: an id is not to tell whether there is a job.
            raise TaskError("not_found", "There is no such job, or no more.")
        return job

    async def _events(self, task_id: str) -> AsyncIterator[str]:
        async with aclosing(watched(self._jobs, task_id)) as changes:
            while True:
                coming = asyncio.ensure_future(anext(changes, None))
                try:
                    while not (await asyncio.wait({coming}, timeout=_SILENCE_SECONDS))[0]:
                        yield ": still there\n\n"
                finally:
                    # A client that went away ends the wait, which must be over before `aclose`.
                    coming.cancel()
                    await asyncio.wait({coming})
                if coming.cancelled() or isinstance(coming.exception(), TaskError):
                    return
                job = coming.result()
                if job is None:
                    return
                view = TaskView.of(job).model_dump_json()
                yield f"id: {job.version}\nevent: task\ndata: {view}\n\n"


def _describe(app: FastAPI) -> None:
    """Has the app's OpenAPI say which tasks there are and what they take; when it is asked."""
    inner = app.openapi

    def openapi() -> dict[str, Any]:
        schema = inner()
        described = [_described(each, schema) for each in DEFINITIONS.values() if each.public]
        if described:
            body = schema["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]
            body["schema"] = {"oneOf": described}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(definition: Definition, schema: dict[str, Any]) -> dict[str, Any]:
    parts = schema.setdefault("components", {}).setdefault("schemas", {})
    arguments = definition.arguments.json_schema()
    for name in arguments.get("$defs", {}):
        if parts.get(name, arguments["$defs"][name]) != arguments["$defs"][name]:
            arguments = _renamed(arguments, name, f"{name}-{definition.name}")
    parts.update(arguments.pop("$defs", {}))
    whole: dict[str, Any] = json.loads(json.dumps(parts["TaskRequest"]))
    whole["title"] = definition.name
    whole["properties"]["name"] = {"const": definition.name, "type": "string"}
    whole["properties"]["arguments"] = arguments
    return whole


def _renamed(arguments: dict[str, Any], name: str, new: str) -> dict[str, Any]:
    """A schema whose model gives up a name that another model of the app has."""
    new = re.sub(r"[^A-Za-z0-9._-]", "_", new)
    text = json.dumps(arguments).replace(f'/schemas/{name}"', f'/schemas/{new}"')
    renamed: dict[str, Any] = json.loads(text)
    renamed["$defs"][new] = renamed["$defs"].pop(name)
    return renamed
