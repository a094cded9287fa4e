"""The Celery application of a small user project; broker and backend are one Redis."""

import os

from celery import Celery

from respond_async import AsyncRequests

celery = Celery("shop", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
celery.conf.update(
    worker_send_task_events=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    worker_hijack_root_logger=False,
)
AsyncRequests.worker(celery, app="tests.support.shop.main:app")
