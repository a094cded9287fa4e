"""The Celery application with its broker and its results."""

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.backends.base import DisabledBackend

from respond_async.command.findings import Finding
from respond_async.settings import Settings

__all__ = ["look_at_broker"]

_CONNECT_SECONDS = 5


def look_at_broker(project: str, settings: Settings) -> list[Finding]:
    """What there is to say of a project's broker and queues.

    Args:
        project: As `celery -A` takes it; imported here.
        settings: Name the queue of the requests.
    """
    try:
        celery = _imported(project)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from being imported
        # Of other errors the text may show a secret that a module has read.
        text = f": {error}" if isinstance(error, ImportError | AttributeError) else ""
        what = f"cannot be imported: {type(error).__name__}{text}"
        remedy = "name yours, from its folder (-A shop.worker); `celery -A ... report` says more"
        return [Finding(f"celery {project}", "failure", what, remedy)]
    found = [*_results(celery), *_broker(celery, _queues(celery, settings))]
    return [
        Finding(one.subject, one.level, one.what, one.remedy.replace("PROJECT", project))
        for one in found
    ]


def _imported(project: str) -> Celery:
    # As `celery -A` does: the project is where one stands.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the module path holds strings
    # What it prints is no part of a report.
    with contextlib.redirect_stdout(sys.stderr):
        app = find_app(project)
        app.loader.import_default_modules()
    return app


def _results(celery: Celery) -> list[Finding]:
    if isinstance(celery.backend, DisabledBackend):
        remedy = "set result_backend, for instance to REDIS_URL: answers are kept there"
        return [Finding("celery results", "failure", "are not kept", remedy)]
    # Without its password.
    return [Finding("celery results", "ok", f"in {celery.backend.as_uri()}")]


def _queues(celery: Celery, settings: Settings) -> list[str]:
    return sorted({settings.kafka_topic, *celery.amqp.queues})


def _broker(celery: Celery, queues: list[str]) -> Iterable[Finding]:
    with celery.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection:
        where = connection.as_uri()
        # A transport that can tell (kafka_transport's) is asked; of others it is seen that they
        # answer.
        diagnose: Any = getattr(connection.transport, "diagnose", None)
        if diagnose is not None:
            found: Iterable[Finding] = diagnose(connection, queues)
            return found
        try:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_SECONDS)
        except Exception as error:  # noqa: BLE001 - brokers share no base of their errors
            what = f"does not answer: {type(error).__name__}"
            return [Finding(f"broker {where}", "failure", what, "start it, or mend broker_url")]
        return [Finding(f"broker {where}", "ok", "answers")]
