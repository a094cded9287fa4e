"""Doing what `steps` says, blocking or not."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import httpx

from respond_async.client.errors import ResultUnavailable
from respond_async.client.steps import Options, Pause, Progress, Read, Step, steps

Send = Callable[[httpx.Request], httpx.Response]
AsyncSend = Callable[[httpx.Request], Awaitable[httpx.Response]]

# How long cancelling may hold up whoever was cancelled.
_CANCEL_SECONDS: Final = 5.0


def drive(request: httpx.Request, options: Options, send: Send) -> httpx.Response:
    """Sends a request and blocks until its answer is there. See `steps` for what it raises."""
    progress = Progress()
    running = steps(request, options, progress)
    try:
        step = next(running)
        while True:
            try:
                came = _done(step, send)
            except httpx.TransportError as error:
                if progress.job is None:
                    raise
                step = running.throw(error)
            else:
                step = running.send(came)
    except StopIteration as end:
        answer: httpx.Response = end.value
        return answer
    except BaseException as error:
        # Ctrl-C too.
        if progress.job is not None and not isinstance(error, ResultUnavailable):
            with contextlib.suppress(httpx.HTTPError):
                send(progress.job.cancellation()).close()
        raise


def _done(step: Step, send: Send) -> httpx.Response | None:
    match step:
        case Pause(seconds):
            time.sleep(seconds)
        case Read(response):
            response.read()
        case request:
            return send(request)
    return None


async def drive_async(request: httpx.Request, options: Options, send: AsyncSend) -> httpx.Response:
    """`drive` for asyncio and trio; cancelled, it cancels the request."""
    progress = Progress()
    running = steps(request, options, progress)
    try:
        step = next(running)
        while True:
            try:
                came = await _done_async(step, send)
            except httpx.TransportError as error:
                if progress.job is None:
                    raise
                step = running.throw(error)
            else:
                step = running.send(came)
    except StopIteration as end:
        answer: httpx.Response = end.value
        return answer
    except BaseException as error:
        if progress.job is not None and not isinstance(error, ResultUnavailable):
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                with contextlib.suppress(httpx.HTTPError):
                    await (await send(progress.job.cancellation())).aclose()
        raise


async def _done_async(step: Step, send: AsyncSend) -> httpx.Response | None:
    match step:
        case Pause(seconds):
            await anyio.sleep(seconds)
        case Read(response):
            await response.aread()
        case request:
            return await send(request)
    return None
