"""The Celery application of the jobs' tests; broker and backend are one Redis, unless JOBS_BROKER is set."""

import os

from celery import Celery

import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from respond_async import JobsWorker
from tests.support.jobs.functions import CONFIG

_redis = os.environ["REDIS_URL"]
_broker = os.environ.get("JOBS_BROKER", _redis)
# What a killed worker had comes back soon; what runs longer comes twice, and waits.
_options = {"visibility_timeout": 3, "unacked_restore_interval": 1}

celery = Celery("jobs", broker=_broker, backend=_redis)
celery.conf.update(
    worker_pool=os.environ.get("JOBS_POOL", "respond_async.pool:AsyncioPool"),
    worker_concurrency=50,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("JOBS_QUEUE", "jobs"),
    # A job counts its own begins; see config/celery.py.
    broker_transport_options={"max_deliveries": 100} if _broker.startswith("kafka") else _options,
    worker_hijack_root_logger=False,
)
JobsWorker(celery, config=CONFIG)
