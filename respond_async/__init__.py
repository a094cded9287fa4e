"""Answer a FastAPI request with 202, run it on a Celery worker, deliver the exact answer later.

# shop/main.py
from fastapi import Depends, FastAPI
from respond_async import AsyncRequests, require_async

app = FastAPI()
AsyncRequests(app, celery="shop.worker:celery")

# shop/worker.py
from celery import Celery
import kafka_transport
from respond_async import AsyncRequests

celery = Celery("shop", broker="kafka://localhost:9092", backend="redis://localhost:6379/0")
AsyncRequests.worker(celery, app="shop.main:app")
"""

from respond_async.async_requests import AsyncRequests
from respond_async.capture import require_async
from respond_async.errors import (
    AppStartError,
    BodyLostError,
    ConfigurationError,
    EnvelopeError,
    RespondAsyncError,
)
from respond_async.identity import Identity, current_identity, optional_identity
from respond_async.problems import Problem
from respond_async.scope import ReplayInfo, replay_info
from respond_async.settings import Settings, settings_table

__all__ = [
    "AppStartError",
    "AsyncRequests",
    "BodyLostError",
    "ConfigurationError",
    "EnvelopeError",
    "Identity",
    "Problem",
    "ReplayInfo",
    "RespondAsyncError",
    "Settings",
    "current_identity",
    "optional_identity",
    "replay_info",
    "require_async",
    "settings_table",
]
