"""Whether the service answers: the app and Flower over HTTP, the worker over the broker."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from respond_async.dev.leash import leashed
from respond_async.dev.options import Options

__all__ = ["Readiness"]

PING = Path(__file__).with_name("ping.py")

#: How long one question may take.
ANSWER_SECONDS = 1.0


class Readiness:
    """Asks until everything has answered once; what has answered is not asked again.

    Leaving the context ends a ping that still waits for its answer.

    Args:
        options: Where things listen, and the Celery application's name.
        environment: The processes' environment.
    """

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        self._celery = options.celery
        self._environment = environment
        self._app = (_reachable(options.host), options.port)
        self._flower = (_reachable(options.flower_host), options.flower_port)
        prefix = environment.get("FLOWER_URL_PREFIX", "").strip("/")
        self._healthcheck = f"/{prefix}/healthcheck" if prefix else "/healthcheck"
        self._ping: subprocess.Popen[bytes] | None = None
        self._answered: set[str] = set()

    def missing(self) -> str | None:
        """What has not answered yet, as words for a reader; None once all have."""
        checks = {
            "the app": self._app_answers,
            "Flower": self._flower_answers,
            "the worker": self._worker_answers,
        }
        for name, answers in checks.items():
            if name not in self._answered:
                if not answers():
                    # In turn: three at once would only slow the start of what they ask.
                    break
                self._answered.add(name)
        return ", ".join(name for name in checks if name not in self._answered) or None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ping is not None and self._ping.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._ping.pid, signal.SIGKILL)
            self._ping.wait()

    def _app_answers(self) -> bool:
        # An app without such a path answers 404, which is an answer too.
        status = _get(self._app, "/readyz")
        return status is not None and status < http.HTTPStatus.INTERNAL_SERVER_ERROR

    def _flower_answers(self) -> bool:
        return _get(self._flower, self._healthcheck) == http.HTTPStatus.OK

    def _worker_answers(self) -> bool:
        if self._ping is None or self._ping.poll():
            # A failed one is started anew: what it met, such as a broker that comes late, passes.
            # Its output would only repeat what the worker itself says.
            self._ping = subprocess.Popen(  # noqa: S603 - the command is given as a list
                leashed([sys.executable, "-P", str(PING), self._celery]),
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._ping.poll() == 0


def _reachable(host: str) -> str:
    """An address to ask at: one cannot connect to "every address" everywhere."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def _get(address: tuple[str, int], path: str) -> int | None:
    # http.client rather than httpx: no proxy of the environment is in the way of the loopback.
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
