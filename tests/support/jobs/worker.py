"""The Celery application of the jobs' tests; broker and backend are one Redis."""

import os

from celery import Celery

from respond_async import JobsWorker
from tests.support.jobs.functions import CONFIG

_redis = os.environ["REDIS_URL"]

celery = Celery("jobs", broker=_redis, backend=_redis)
celery.conf.update(
    worker_pool=os.environ.get("JOBS_POOL", "respond_async.pool:AsyncioPool"),
    worker_concurrency=50,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_default_queue="jobs",
    # What a killed worker had comes back soon; what runs longer comes twice, and waits.
    broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1},
    worker_hijack_root_logger=False,
)
JobsWorker(celery, config=CONFIG)
