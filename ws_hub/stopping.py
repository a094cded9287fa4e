"""Hearing that the server stops, before it waits for its connections.

uvicorn ends WebSockets by itself, without a reason, and waits for server-sent events to end before
it lets the app's lifespan know: they never would.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_exit_signal(stops: Callable[[], None]) -> Iterator[None]:
    """Calls `stops` on the running loop when the process is asked to end; then what did before.

    Signals are the main thread's: in any other nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stops)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    wrapped = [number for number, handler in before.items() if callable(handler)]
    for number in wrapped:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number in wrapped:
            if signal.getsignal(number) is heard:
                signal.signal(number, before[number])
