"""One run of a job's function: its dependencies, its time limit, its cancellation."""

import asyncio
import contextvars
import ctypes
import inspect
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from fastapi import Request
from fastapi.dependencies.utils import get_dependant, solve_dependencies

from respond_async.jobs.definition import Definition
from respond_async.jobs.errors import TaskError
from respond_async.jobs.reporting import REPORT, Report
from respond_async.scope import IDENTITIES, REPLAY

# How long what is cancelled may take to end before its end is recorded without it.
_GRACE_SECONDS: Final = 10.0


class Stopped(SystemExit):
    """Ends a function in a thread; a thread that ends by it says nothing."""


class TimedOut(Exception):
    """The run was over its time limit."""


class Cancelled(Exception):
    """The run was ended because its owner cancelled the job."""


class Execution:
    """One run. `cancel` may be called from any thread.

    Args:
        definition: What runs.
        arguments: As JSON.
        timeout: Seconds; None: no limit.
        scope: What dependencies find in the request's scope beside the usual.
    """

    def __init__(
        self,
        definition: Definition,
        arguments: Mapping[str, Any],
        timeout: float | None,
        scope: Mapping[str, Any],
    ) -> None:
        self._definition: Final = definition
        self._arguments: Final = arguments
        self._timeout: Final = timeout
        self._scope: Final = scope
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[Any] | None = None
        self._cancelled = False
        #: What the function says while it runs.
        self.report: Final = Report()

    def cancel(self) -> None:
        """Ends the run soon; once."""
        if not self._cancelled:
            self._cancelled = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop)

    async def run(self) -> Any:
        """What the function gives.

        Raises:
            TimedOut: It was over its limit.
            Cancelled: `cancel` was called.
            asyncio.CancelledError: The worker ends it.
            BaseException: What the function or a dependency raised.
        """
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.create_task(self._called())
        if self._cancelled:
            self._stop()
        try:
            done, _ = await asyncio.wait({self._work}, timeout=self._timeout)
        except asyncio.CancelledError:
            await self._ended()
            raise
        if not done and not self._cancelled:
            await self._ended()
            raise TimedOut
        if not done:
            await self._ended()
        if not self._work.done() or self._work.cancelled():
            if self._cancelled:
                raise Cancelled
            raise TaskError("error", "The function cancelled itself.")
        return self._work.result()

    def _stop(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _ended(self) -> None:
        assert self._work is not None
        self._work.cancel()
        await asyncio.wait({self._work}, timeout=_GRACE_SECONDS)
        if self._work.done() and not self._work.cancelled():
            # Looked at, so that asyncio does not say that nobody did.
            self._work.exception()

    async def _called(self) -> Any:
        REPORT.set(self.report)
        definition = self._definition
        arguments = definition.arguments.from_json(self._arguments)
        async with AsyncExitStack() as stack:
            arguments |= await _injected(definition, self._scope, stack)
            if definition.is_async:
                return await definition.function(**arguments)
            return await _in_thread(lambda: definition.function(**arguments))


def scope_of(name: str, replay: object, identities: object) -> dict[str, Any]:
    """The ASGI scope that dependencies of a job see: a POST without headers or body."""
    return {
        "type": "http", "method": "POST", "path": f"/tasks/{name}", "raw_path": b"", "headers": [],
        "query_string": b"", "scheme": "http", "server": ("worker", 0), "client": None,
        "path_params": {}, "state": {}, REPLAY: replay, IDENTITIES: identities,
    }  # fmt: skip


async def _injected(
    definition: Definition, scope: Mapping[str, Any], stack: AsyncExitStack
) -> dict[str, Any]:
    injected = definition.arguments.injected
    if not injected and not definition.dependencies:
        return {}
    dependant = get_dependant(path="/", call=_resolver(definition))
    request = Request({**scope, "fastapi_inner_astack": stack, "fastapi_function_astack": stack})
    solved = await solve_dependencies(
        request=request,
        dependant=dependant,
        async_exit_stack=stack,
        embed_body_fields=False,
    )
    if solved.errors:
        details = {"errors": [str(each.get("loc")) for each in solved.errors]}
        raise TaskError("invalid_dependencies", "A job has no query, header or body.", details)
    return {each.name: solved.values[each.name] for each in injected}


def _resolver(definition: Definition) -> Callable[..., None]:
    """A function whose parameters are those that FastAPI resolves, and no others."""

    def resolver() -> None: ...

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in definition.arguments.injected
    ]
    for number, dependency in enumerate(definition.dependencies):
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(f"dependency_{number}", kind, default=dependency))
    resolver.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return resolver


async def _in_thread(function: Callable[[], Any]) -> Any:
    """The function's result, in a thread of its own: one that is told to stop is no other job's.

    A cancellation raises `Stopped` in the thread, which ends it where it next runs Python; until
    then the caller waits.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        elif isinstance(error, Stopped | StopIteration | SystemExit):
            ended.set_exception(TaskError("error", f"The function raised {error!r}."))
        else:
            ended.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = context.run(function)
        except BaseException as raised:  # noqa: BLE001 - it goes to who waits
            error = raised
        loop.call_soon_threadsafe(settle, result, error)

    thread = threading.Thread(target=run, name="respond_async.job", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        # The interpreter's own way to raise in another thread; no effect on one that has ended.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped)
        )
        await asyncio.wait({ended})
        if ended.exception() is None:
            return ended.result()
        raise
