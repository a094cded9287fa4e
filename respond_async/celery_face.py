"""The app's calls to Celery: publishing and asking for results, never on the event loop.

A fixed number of threads makes them, so that a broker or backend that hangs cannot take the
threads that run the app's own endpoints, and each call has a deadline.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar

from celery import Celery
from celery.backends.base import DisabledBackend

from respond_async.envelope import CapturedRequest
from respond_async.errors import ConfigurationError
from respond_async.publishing import BrokerUnavailableError, ReplayPublisher
from respond_async.sealing import Sealer
from respond_async.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 16
# On top of the broker's own deadline, so that its error, which says more, comes first.
_MARGIN_SECONDS: Final = 1.0
# Sealing a larger one takes longer than a thread costs.
_SEALED_ON_LOOP_BYTES: Final = 32 * 1024


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
        self._making = Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._deadline = settings.kafka_publish_timeout_seconds + _MARGIN_SECONDS
        self._publisher: ReplayPublisher | None = None

    async def publish(
        self,
        request: CapturedRequest,
        body: bytes,
        sealer: Sealer,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Returns once the broker has the task.

        Args:
            request: What is replayed; its method and path are what logs and Flower show.
            body: What travels with it.
            sealer: For requests.
            headers: More of the Celery message's, readable by whoever reads the queue.

        Raises:
            BrokerUnavailableError: The broker did not confirm it in time.
        """
        if len(body) > _SEALED_ON_LOOP_BYTES:
            sealed = await self._in_thread(request.sealed, body, sealer)
        else:
            sealed = request.sealed(body, sealer)
        publisher = self._publisher
        if publisher is None or not publisher.is_ready(request):
            publisher = await self._by(self._deadline, self._connected, request)
        if publisher is None:
            await self._by(self._deadline, self._publish, request, sealed, headers)
        else:
            await publisher.confirmed(request, sealed, headers)

    async def _by(
        self, deadline: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            async with asyncio.timeout(deadline):
                return await self._in_thread(call, *args, **kwargs)
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

    async def loaded(self) -> Celery:
        """The Celery application; imported in a thread, if it is only named.

        Raises:
            ConfigurationError: There is none.
        """
        if isinstance(self._given, Celery):
            return self._given
        return await self._in_thread(self._celery)

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

    def _connected(self, request: CapturedRequest) -> ReplayPublisher | None:
        """What publishes from the loop; None where the broker's transport cannot."""
        publisher = self._made_publisher()
        return publisher if publisher.connect(request) else None

    def _publish(
        self, request: CapturedRequest, sealed: str, headers: Mapping[str, str] | None
    ) -> None:
        self._made_publisher().publish(request, sealed, headers)

    def _made_publisher(self) -> ReplayPublisher:
        # The first requests come in several threads at once.
        with self._making:
            if self._publisher is None:
                self._publisher = ReplayPublisher(
                    self._celery(),
                    self._settings.kafka_topic,
                    self._settings.kafka_publish_timeout_seconds,
                )
            return self._publisher

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
