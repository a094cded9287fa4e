"""The ASGI app for tasks that are plain functions: on the asyncio pool's loop, or in a thread."""

import asyncio
import logging
import os
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Final

from respond_async.answer import Answer
from respond_async.envelope import CapturedRequest
from respond_async.pool import await_, before_stop, running_loop
from respond_async.replay import Body, ReplayApp
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

_STOP_MARGIN_SECONDS: Final = 5.0


class ReplayThread:
    """One app and one event loop per process, shared by every task that runs in the process.

    Started at first use, never before a fork: a thread does not survive one. A process that was
    forked after that starts its own.

    Args:
        where: The app, as "module:attribute".
        settings: Limits and deadlines.
    """

    def __init__(self, where: str, settings: Settings) -> None:
        self._where = where
        self._settings = settings
        self._lock = Lock()
        self._running: _Running | None = None

    def start(self) -> "Future[ReplayApp]":
        """Starts the app if it is not running; its future fails with `AppStartError`."""
        return self._started().app

    def replay(self, request: CapturedRequest, body: Body) -> Answer:
        """`ReplayApp.replay` for a caller without an event loop; waits for the app's start.

        An exception that is raised into the waiting caller, as Celery's soft time limit is,
        cancels the endpoint.

        Raises:
            AppStartError: The app cannot be started.
        """
        return self._started().replay(request, body)

    def stop(self) -> None:
        """Ends the app's lifespan and the thread; does nothing where it does not run."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None and not running.is_lost():
            running.stop(self._settings.replay_startup_timeout_seconds + _STOP_MARGIN_SECONDS)

    def _started(self) -> "_Running":
        with self._lock:
            if self._running is None or self._running.is_lost():
                self._running = _Running(ReplayApp(self._where, self._settings))
            return self._running


class _Running:
    """The app on an event loop: the asyncio pool's, or one in a thread of its own."""

    def __init__(self, app: ReplayApp) -> None:
        self._pid = os.getpid()
        self._stopping = asyncio.Event()
        self.app: Future[ReplayApp] = Future()
        self._thread: Thread | None = None
        loop = running_loop()
        if loop is not None:
            self.loop = loop
            serving = asyncio.run_coroutine_threadsafe(self._serve(app), loop)
            before_stop(lambda: self._end_on_pool(serving))
        else:
            self.loop = asyncio.new_event_loop()
            self._thread = Thread(
                target=self._run, args=(app,), name="respond_async.replay", daemon=True
            )
            self._thread.start()

    def is_lost(self) -> bool:
        """Whether it could not be started, its loop is gone, or its process is that before a fork."""
        return (
            self._pid != os.getpid()
            or self.loop.is_closed()
            or (self.app.done() and self.app.exception() is not None)
        )

    def replay(self, request: CapturedRequest, body: Body) -> Answer:
        if self._thread is None:
            if not self.app.done():
                await_(self._until_started())
            return await_(self.app.result().replay(request, body))
        # Waited for here, not on the loop: a loop whose app cannot start ends with all that waits.
        app = self.app.result()
        future = asyncio.run_coroutine_threadsafe(app.replay(request, body), self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self, timeout_seconds: float) -> None:
        """Ends what has a thread of its own; the pool's loop ends what runs on it."""
        if self._thread is None:
            return
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            logger.error("the app's event loop did not end within %g s", timeout_seconds)

    async def _until_started(self) -> None:
        # Shielded: a replay that is cancelled must not cancel the start of the app.
        await asyncio.shield(asyncio.wrap_future(self.app))

    def _run(self, app: ReplayApp) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve(app))

    async def _serve(self, app: ReplayApp) -> None:
        # Start and end in one task: a lifespan's cancel scopes must be left where they were entered.
        try:
            await app.start()
        except BaseException as error:
            self.app.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        self.app.set_result(app)
        await self._stopping.wait()
        await app.stop()

    async def _end_on_pool(self, serving: "Future[None]") -> None:
        self._stopping.set()
        await asyncio.wrap_future(serving)
