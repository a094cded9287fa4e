"""The reference service's Celery application: `celery -A tasks worker`."""

from celery import Celery

import config.logging  # noqa: F401 - takes over Celery's logging set-up
import kafka_transport  # noqa: F401 - gives Celery the scheme kafka://
from config import settings
from config.tracing import configure_tracing
from respond_async import AsyncRequests, JobsWorker

__all__ = ["celery"]

configure_tracing()
celery = Celery("tasks")
celery.config_from_object("config.celery")
AsyncRequests.worker(celery, app=settings.replayed_app, settings=settings)
JobsWorker(celery, settings)
