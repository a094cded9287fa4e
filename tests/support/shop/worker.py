"""The Celery application of a small user project; broker and backend are one Redis."""

import asyncio
import os
import signal
from typing import Any

from celery import Celery, signals

from respond_async import AsyncRequests, Settings
from respond_async.connections import result_backend

_backend = os.environ["REDIS_URL"]

celery = Celery("shop", broker=os.environ.get("SHOP_BROKER", _backend))
celery.conf.update(
    result_backend(Settings()),
    worker_send_task_events=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    worker_hijack_root_logger=False,
)


@signals.task_success.connect
def die_after_storing(**_: Any) -> None:
    """Runs before the library's own receivers: the result is stored, nobody was told."""
    if os.environ.get("SHOP_DIES") == "after-storing":
        os.kill(os.getpid(), signal.SIGKILL)


@celery.task(name="shop.awaited")
async def awaited(text: str) -> str:
    """For a pool that awaits."""
    await asyncio.sleep(0)
    return text


AsyncRequests.worker(celery, app=os.environ.get("SHOP_APP", "tests.support.shop.main:app"))
