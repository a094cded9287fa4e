"""The reference service: `uvicorn app.main:app`.

Demo endpoints under `/api/v1/demo`, the result endpoint and the capture of respond_async, the
hub's `/ws`, `/livez` and `/readyz`.
"""

from typing import TYPE_CHECKING

from celery import Celery
from fastapi import APIRouter, FastAPI

import config
from app.demo import fail, me, report, sleep
from app.demo.tokens import token_router
from app.health import health_router
from config.logging import configure_logging
from respond_async import AsyncRequests, Settings
from ws_hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "create_app"]


def create_app(settings: Settings | None = None, celery: Celery | None = None) -> FastAPI:
    """Makes the application.

    Args:
        settings: Default: `config.settings`, so the environment.
        celery: The Celery application whose workers replay requests. Default: `tasks.celery`,
            imported when it is first needed, since those workers import this module.

    Returns:
        A new application; it opens no connection before it is asked something.
    """
    settings = settings or config.settings
    app = FastAPI(title="respond-async", description=__doc__)
    # Before any route: only routes that come after it are captured.
    AsyncRequests(app, celery=celery or "tasks:celery", settings=settings)
    Hub(settings).install(app)
    app.include_router(health_router(settings.redis_url, _later(celery)))
    app.include_router(_demo(settings))
    return app


def _demo(settings: Settings) -> APIRouter:
    demo = APIRouter(prefix="/api/v1/demo", tags=["demo"])
    for module in (report, sleep, fail, me):
        demo.include_router(module.router)
    if settings.environment == "development":
        demo.include_router(token_router(settings))
    return demo


def _later(celery: Celery | None) -> "Callable[[], Celery]":
    def get() -> Celery:
        if celery is not None:
            return celery
        import tasks

        return tasks.celery

    return get


configure_logging()
app = create_app()
