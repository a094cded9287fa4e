"""The app's calls to Celery: publishing and asking for results, never on the event loop.

A fixed number of threads makes them, so that a broker or backend that hangs cannot take the
threads that run the app's own endpoints, and each call has a deadline.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar

from celery import Celery
from celery.backends.base import DisabledBackend
from kombu.exceptions import OperationalError
from kombu.pools import producers

from respond_async.envelope import CapturedRequest
from respond_async.errors import ConfigurationError
from respond_async.plan import Plan
from respond_async.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

#: The name of the Celery task that replays a request.
TASK_NAME: Final = "respond_async.replay"

_THREADS: Final = 16
# On top of the broker's own deadline, so that its error, which says more, comes first.
_MARGIN_SECONDS: Final = 1.0
_SHOWN_PATH: Final = 200
# One attempt to connect, then an error; kombu's default is to try for ever.
_CONNECT_ONCE: Final = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


class BrokerUnavailableError(Exception):
    """The broker did not confirm the task. Whether it has it is not known."""


class BackendUnavailableError(Exception):
    """The result backend did not answer."""


class CeleryFace:
    """Publishes replays and reads their state.

    Args:
        celery: The Celery application, or where it is ("module:attribute"); imported at first
            use, since its module may import the app's.
        settings: Queue and deadlines.
    """

    def __init__(self, celery: Celery | str, settings: Settings) -> None:
        self._given = celery
        self._settings = settings
        self._lock = Lock()
        self._executor: ThreadPoolExecutor | None = None

    async def publish(self, request: CapturedRequest, seal: Callable[[], str]) -> None:
        """Returns once the broker has the task.

        Args:
            request: What is replayed; its method and path are what logs and Flower show.
            seal: Makes the task's argument; runs in a thread.

        Raises:
            BrokerUnavailableError: The broker did not confirm it in time.
        """
        deadline = self._settings.kafka_publish_timeout_seconds + _MARGIN_SECONDS
        try:
            async with asyncio.timeout(deadline):
                await self._in_thread(self._publish, request, seal)
        except TimeoutError:
            raise BrokerUnavailableError(f"no confirmation within {deadline:g} s") from None

    async def meta(self, task_id: str) -> dict[str, Any]:
        """What the result backend has: at least `status`, one of Celery's states.

        Raises:
            BackendUnavailableError: It did not answer in time.
            ConfigurationError: The Celery application has no result backend.
        """
        deadline = self._settings.redis_timeout_seconds * 2
        try:
            async with asyncio.timeout(deadline):
                return await self._in_thread(self._meta, task_id)
        except TimeoutError:
            raise BackendUnavailableError(f"no answer within {deadline:g} s") from None

    async def call(self, function: Callable[[Celery], T]) -> T:
        """What `function` gives, called in a thread with the Celery application.

        Raises:
            BackendUnavailableError: It failed, or did not end in time.
        """
        deadline = self._settings.redis_timeout_seconds * 2
        try:
            async with asyncio.timeout(deadline):
                return await self._in_thread(self._called, function)
        except TimeoutError:
            raise BackendUnavailableError(f"no answer within {deadline:g} s") from None

    def celery(self) -> Celery:
        """The Celery application; imported at the first call."""
        return self._celery()

    def close(self) -> None:
        """Ends the threads that wait for work; the next use starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(_THREADS, "respond_async")
            future = self._executor.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(future)

    def _publish(self, request: CapturedRequest, seal: Callable[[], str]) -> None:
        celery = self._celery()
        connection = celery.connection_for_write(transport_options=_CONNECT_ONCE)
        errors: tuple[type[BaseException], ...] = (
            OperationalError,
            OSError,
            *connection.connection_errors,
            *connection.channel_errors,
        )
        sealed = seal()
        plan = request.plan or Plan()
        try:
            with producers[connection].acquire(
                block=True, timeout=self._settings.kafka_publish_timeout_seconds
            ) as producer:
                celery.send_task(
                    TASK_NAME,
                    kwargs={"request": sealed},
                    task_id=request.task_id,
                    queue=plan.queue or self._settings.kafka_topic,
                    **plan.publish_options(),
                    producer=producer,
                    serializer="json",
                    ignore_result=False,
                    retry=False,
                    # Shown by logs, events and Flower instead of what is sent.
                    argsrepr=shown_request(request),
                    kwargsrepr="{}",
                )
        except errors as error:
            raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error

    def _meta(self, task_id: str) -> dict[str, Any]:
        backend = self._celery().backend
        if isinstance(backend, DisabledBackend):
            raise ConfigurationError("the Celery application needs a result backend (Redis)")
        try:
            meta: dict[str, Any] = backend.get_task_meta(task_id, cache=False)
        except Exception as error:
            # Backends raise their own client's errors, which share no base.
            raise BackendUnavailableError(f"{type(error).__name__}: {error}") from error
        return meta

    def _called(self, function: Callable[[Celery], T]) -> T:
        try:
            return function(self._celery())
        except Exception as error:
            # Backends and brokers raise their own clients' errors, which share no base.
            raise BackendUnavailableError(f"{type(error).__name__}: {error}") from error

    def _celery(self) -> Celery:
        if not isinstance(self._given, Celery):
            self._given = load(self._given, Celery)
        return self._given


def shown_request(request: CapturedRequest) -> str:
    """What logs, events and Flower show of a request: method and path."""
    return f"{request.method} {request.raw_path}"[:_SHOWN_PATH]


def load(where: str, kind: type[T]) -> T:
    """The object that "module:attribute" names.

    Raises:
        ConfigurationError: There is none, or it is of another kind.
        Exception: Whatever importing the module raises.
    """
    module, colon, attributes = where.partition(":")
    if not (module and colon and attributes):
        raise ConfigurationError(f'"{where}" must be written as "module:attribute"')
    found: Any = import_module(module)
    for name in attributes.split("."):
        found = getattr(found, name, None)
    if found is None or not isinstance(found, kind):
        raise ConfigurationError(f'"{where}" is no {kind.__name__}')
    return found
