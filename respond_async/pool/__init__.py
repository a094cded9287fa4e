"""An asyncio worker pool for Celery: thousands of tasks in flight in one process.

In any Celery project, without anything else of this one::

    app.conf.worker_pool = "respond_async.pool:AsyncioPool"
    app.conf.worker_concurrency = 500  # tasks in flight

    @app.task(bind=True)
    async def fetch(self, url): ...

Async tasks run on one event loop; plain functions run in a bounded number of threads beside it.
"""

from respond_async.pool.bodies import is_async
from respond_async.pool.bridge import in_bridge
from respond_async.pool.concurrency import DEFAULT_CONCURRENCY
from respond_async.pool.errors import NoLoop, PoolError, TaskAborted
from respond_async.pool.loop import await_, before_stop, pause, running_loop
from respond_async.pool.offload import in_thread
from respond_async.pool.options import Options
from respond_async.pool.pool import AsyncioPool

__all__ = [
    "DEFAULT_CONCURRENCY",
    "AsyncioPool",
    "NoLoop",
    "Options",
    "PoolError",
    "TaskAborted",
    "await_",
    "before_stop",
    "in_bridge",
    "in_thread",
    "is_async",
    "pause",
    "running_loop",
]
