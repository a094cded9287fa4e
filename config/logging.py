"""What the app, the hub and the worker log, and how: one JSON object a line, or text to read.

In production a line is a JSON object; in development it is text; LOG_FORMAT says otherwise. A line
that belongs to a request names it by the same ids in app and worker: `request_id`, `task_id`,
`user`. Each end of a task is one line. No line holds a query string that uvicorn would print, a
token or the name of an anonymous channel: the three are keys to somebody's answers. Nor does one
hold what a task was given or has returned.
"""

import logging.config
import re
import sys
from functools import cache
from typing import Any, Final

import structlog
from celery import signals
from celery._state import get_current_task
from structlog.typing import EventDict, Processor, WrappedLogger

from config import settings
from respond_async.ends import END_FIELDS
from respond_async.log_context import log_fields, of_replay
from respond_async.publishing import TASK_NAME

__all__ = ["configure_logging", "configure_worker_logging", "formatter"]

#: uvicorn prints a request's path with its query, in the access log and for each WebSocket.
_QUERY = re.compile(r"\?[^\s\"']*")
#: The same keys in a line of any other library.
_SECRET = re.compile(r"(?i)\b(token|access_token|channel)=[^\s&\"']+")


def formatter() -> logging.Formatter:
    """The format of every line: JSON in production, text in development, or as LOG_FORMAT says.

    Returns:
        A formatter for a handler of the standard library; `uvicorn --log-config` calls this too.
    """
    if settings.log_format == "json" or (
        settings.log_format == "auto" and settings.environment == "production"
    ):
        render: list[Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # The default traceback prints local variables, so bodies and tokens: the plain one not.
        render = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_described(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )


@cache
def configure_logging() -> None:
    """Sets up logging for this process, at the level of `LOG_LEVEL`, to standard error.

    Done once: the worker that loads the app to replay a request keeps what it has.
    """
    structlog.configure(
        processors=[
            *_described(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    to_the_root = {"handlers": [], "propagate": True}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": formatter}},
            "filters": {"ends": {"()": _TaskEnds}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": settings.log_level},
            "loggers": {
                "uvicorn": to_the_root,
                "uvicorn.access": to_the_root,
                "uvicorn.error": to_the_root,
                # "Task received": the line of its end says the same and more.
                "celery.worker.strategy": {"level": "WARNING"},
                "celery.app.trace": {"filters": ["ends"]},
                # It prints whole URLs of requests.
                "httpx": {"level": "WARNING"},
            },
        }
    )


@signals.setup_logging.connect
def configure_worker_logging(**_: Any) -> None:
    """Takes the place of Celery's own logging set-up; the level is `LOG_LEVEL`, not `-l`."""
    configure_logging()


def _described() -> list[Processor]:
    return [
        # No others: Celery puts a task's arguments and result into a record's extra fields.
        structlog.stdlib.ExtraAdder(allow=END_FIELDS),
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_task,
        _hide_keys,
    ]


def _add_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    task = get_current_task()
    if task is not None and task.request.id:
        event.setdefault("task_id", task.request.id)
        event.setdefault("task", task.name)
        captured = getattr(task.request, "captured", None)
        if captured is not None:
            for name, value in of_replay(captured).fields().items():
                event.setdefault(name, value)
    for name, value in log_fields().items():
        event.setdefault(name, value)
    return event


class _TaskEnds(logging.Filter):
    """What Celery says of a task's end: once, and without what the task was given or returned.

    The end of a replay is the line of `respond_async.ended`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.args
        if not isinstance(said, dict) or "name" not in said:
            return True
        if said["name"] == TASK_NAME and record.levelno < logging.CRITICAL:
            return False
        task = get_current_task()
        if task is not None:
            record.attempts = int(task.request.retries or 0) + 1
        if "runtime" in said:
            record.duration_seconds = round(float(said["runtime"]), 6)
            record.outcome = "answered"
        elif str(said.get("description", "")).startswith("raised"):
            record.outcome = "error"
        record.args = {**said, **dict.fromkeys(_PRIVATE & said.keys(), "[hidden]")}
        return True


#: Of what Celery's lines are made.
_PRIVATE: Final = frozenset({"args", "kwargs", "return_value"})


def _hide_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    text = str(event.get("event", ""))
    if str(event.get("logger", "")).startswith("uvicorn"):
        text = _QUERY.sub("", text)
    event["event"] = _SECRET.sub(r"\1=[hidden]", text)
    return event
