"""What the app, the hub and the worker log, and how: one JSON object a line, or text to read.

In production a line is a JSON object; in development it is text. A line written while a task
runs names the task. No line holds a query string that uvicorn would print, a token or the name
of an anonymous channel: the three are keys to somebody's answers.
"""

import logging.config
import re
import sys
from functools import cache
from typing import Any

import structlog
from celery import signals
from celery._state import get_current_task
from structlog.typing import EventDict, Processor, WrappedLogger

from config import settings

__all__ = ["configure_logging", "configure_worker_logging", "formatter"]

#: uvicorn prints a request's path with its query, in the access log and for each WebSocket.
_QUERY = re.compile(r"\?[^\s\"']*")
#: The same keys in a line of any other library.
_SECRET = re.compile(r"(?i)\b(token|access_token|channel)=[^\s&\"']+")


def formatter() -> logging.Formatter:
    """The format of every line: JSON in production, text in development.

    Returns:
        A formatter for a handler of the standard library; `uvicorn --log-config` calls this too.
    """
    if settings.environment == "production":
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
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": settings.log_level},
            "loggers": {
                "uvicorn": to_the_root,
                "uvicorn.access": to_the_root,
                "uvicorn.error": to_the_root,
                # "Task received": the line of its end says the same and more.
                "celery.worker.strategy": {"level": "WARNING"},
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
    # No ExtraAdder: Celery puts a task's arguments and result into a record's extra fields.
    return [
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
    return event


def _hide_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    text = str(event.get("event", ""))
    if str(event.get("logger", "")).startswith("uvicorn"):
        text = _QUERY.sub("", text)
    event["event"] = _SECRET.sub(r"\1=[hidden]", text)
    return event
