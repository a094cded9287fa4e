"""uvicorn in a thread, on a free port."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn

from tests.support.ports import free_port
from tests.support.waiting import wait_until


@contextmanager
def served(app: Any, **options: Any) -> Iterator[int]:
    """Gives the port while it is served."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, access_log=False, **options)
    )
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), within=20, what="the server")
        assert server.started
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
