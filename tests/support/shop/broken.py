"""The Celery application of a project whose app cannot be imported."""

import os

from celery import Celery

from respond_async import AsyncRequests

celery = Celery("shop", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
AsyncRequests.worker(celery, app="tests.support.shop.missing:app")
