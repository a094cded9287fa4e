"""Answer a FastAPI request with 202, run it on a Celery worker, deliver the exact answer later.

# shop/main.py
from fastapi import Depends, FastAPI
from respond_async import AsyncRequests, require_async

app = FastAPI()
AsyncRequests(app, celery="shop.worker:celery")

# shop/worker.py
from celery import Celery
import kafka_transport
from respond_async import AsyncRequests

celery = Celery("shop", broker="kafka://localhost:9092", backend="redis://localhost:6379/0")
AsyncRequests.worker(celery, app="shop.main:app")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from respond_async.async_requests import AsyncRequests
    from respond_async.capture import require_async
    from respond_async.errors import (
        AppStartError,
        BodyLostError,
        ConfigurationError,
        EnvelopeError,
        RespondAsyncError,
        StoreUnavailableError,
    )
    from respond_async.gateway import Gateway
    from respond_async.identity import (
        Identity,
        current_identity,
        current_owner,
        optional_identity,
    )
    from respond_async.jobs.config import TaskConfig
    from respond_async.jobs.creating import (
        OwnedTasks,
        TaskDependency,
        cancel_task,
        create_schedule,
        create_task,
        delete_schedule,
        delete_task,
        edit_schedule,
        get_schedule,
        get_task,
        list_schedules,
        list_tasks,
        pause_schedule,
        resume_schedule,
        retry_task,
        task_logs,
        wait_for_task,
        watch,
    )
    from respond_async.jobs.definition import JobFunction, RetryOn, task
    from respond_async.jobs.errors import TaskError
    from respond_async.jobs.http import answer_task_error, install_tasks
    from respond_async.jobs.reading import Page
    from respond_async.jobs.record import Job, JobError
    from respond_async.jobs.reporting import JobProgress, LogLine, update_progress
    from respond_async.jobs.runtime import Jobs
    from respond_async.jobs.schedules import Schedule
    from respond_async.jobs.state import Status
    from respond_async.jobs.times import Times
    from respond_async.jobs.worker import JobsWorker
    from respond_async.options import AsyncOptions, async_options
    from respond_async.plan import Retry
    from respond_async.problems import Problem
    from respond_async.progress import CurrentProgress, Progress, current_progress
    from respond_async.scope import ReplayInfo, replay_info
    from respond_async.settings import Settings, settings_table

__all__ = [
    "AppStartError",
    "AsyncOptions",
    "AsyncRequests",
    "BodyLostError",
    "ConfigurationError",
    "CurrentProgress",
    "EnvelopeError",
    "Gateway",
    "Identity",
    "Job",
    "JobError",
    "JobFunction",
    "JobProgress",
    "Jobs",
    "JobsWorker",
    "LogLine",
    "OwnedTasks",
    "Page",
    "Problem",
    "Progress",
    "ReplayInfo",
    "RespondAsyncError",
    "Retry",
    "RetryOn",
    "Schedule",
    "Settings",
    "Status",
    "StoreUnavailableError",
    "TaskConfig",
    "TaskDependency",
    "TaskError",
    "Times",
    "answer_task_error",
    "async_options",
    "cancel_task",
    "create_schedule",
    "create_task",
    "current_identity",
    "current_owner",
    "current_progress",
    "delete_schedule",
    "delete_task",
    "edit_schedule",
    "get_schedule",
    "get_task",
    "install_tasks",
    "list_schedules",
    "list_tasks",
    "optional_identity",
    "pause_schedule",
    "replay_info",
    "require_async",
    "resume_schedule",
    "retry_task",
    "settings_table",
    "task",
    "task_logs",
    "update_progress",
    "wait_for_task",
    "watch",
]

_MODULES: Final = {
    "async_requests": ("AsyncRequests",),
    "capture": ("require_async",),
    "errors": (
        "AppStartError",
        "BodyLostError",
        "ConfigurationError",
        "EnvelopeError",
        "RespondAsyncError",
        "StoreUnavailableError",
    ),
    "gateway": ("Gateway",),
    "identity": ("Identity", "current_identity", "current_owner", "optional_identity"),
    "jobs.config": ("TaskConfig",),
    "jobs.creating": (
        "OwnedTasks",
        "TaskDependency",
        "create_schedule",
        "delete_schedule",
        "edit_schedule",
        "get_schedule",
        "list_schedules",
        "pause_schedule",
        "resume_schedule",
        "cancel_task",
        "create_task",
        "delete_task",
        "get_task",
        "retry_task",
        "list_tasks",
        "task_logs",
        "wait_for_task",
        "watch",
    ),
    "jobs.definition": (
        "JobFunction",
        "JobProgress",
        "RetryOn",
        "task",
    ),
    "jobs.errors": ("TaskError",),
    "jobs.http": ("answer_task_error", "install_tasks"),
    "jobs.reading": ("Page",),
    "jobs.reporting": ("JobProgress", "LogLine", "update_progress"),
    "jobs.record": (
        "Job",
        "JobError",
    ),
    "jobs.runtime": ("Jobs",),
    "jobs.schedules": ("Schedule",),
    "jobs.state": ("Status",),
    "jobs.times": ("Times",),
    "jobs.worker": ("JobsWorker",),
    "options": ("AsyncOptions", "async_options"),
    "plan": ("Retry",),
    "problems": ("Problem",),
    "progress": ("CurrentProgress", "Progress", "current_progress"),
    "scope": ("ReplayInfo", "replay_info"),
    "settings": ("Settings", "settings_table"),
}
_HOMES: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    # A Celery project that uses respond_async.pool alone needs no FastAPI for it.
    if name in _HOMES:
        return getattr(import_module(f"respond_async.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
