"""The reference service: `uvicorn app.main:app`.

A page at `/`, demo endpoints under `/api/v1/demo`, the result endpoint and the capture of respond_async, its
background jobs under `/api/v1/tasks/`, in development with the examples of `app.jobs`, the hub's `/ws`, `/livez` and `/readyz`. With ASGI_APP or UPSTREAM_URL set, that app or API takes the
place of the demo, unchanged.
"""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery
from fastapi import APIRouter, FastAPI

import config
from app.demo import fail, me, report, sleep
from app.demo.tokens import token_router
from app.health import health_router
from app.page import install_page
from config.logging import configure_logging
from config.tracing import configure_tracing
from respond_async import AsyncRequests, Gateway, Jobs, Settings, install_tasks
from respond_async.celery_face import load
from respond_async.request_ids import RequestIds
from ws_hub import Hub

if TYPE_CHECKING:
    from respond_async.raw_request import App

__all__ = ["app", "create_app", "create_gateway"]


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
    app = FastAPI(
        title="respond-async",
        description=__doc__,
        lifespan=_lifespan,
        # FastAPI's own spans of a request come before anybody could leave it out.
        telemetry={"tracing": settings.traces_ratio >= 1},
    )
    # Before any route: only routes that come after it show the header in the documentation.
    AsyncRequests(app, celery=celery or "tasks:celery", settings=settings)
    install_tasks(app, Jobs(celery or "tasks:celery", settings))
    Hub(settings).install(app)
    app.include_router(health_router(settings, _later(celery)))
    app.include_router(_demo(settings))
    install_page(app)
    RequestIds.install(app)
    return app


def _demo(settings: Settings) -> APIRouter:
    demo = APIRouter(prefix="/api/v1/demo", tags=["demo"])
    for module in (report, sleep, fail, me):
        demo.include_router(module.router)
    if settings.environment == "development":
        demo.include_router(token_router(settings))
        # Whoever may ask could store files and send mail: elsewhere not even imported.
        from app.jobs import exports, uploads

        for job in (exports, uploads):
            demo.include_router(job.router)
    return demo


def _later(celery: Celery | None) -> Callable[[], Celery]:
    def get() -> Celery:
        if celery is not None:
            return celery
        import tasks

        return tasks.celery

    return get


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    # What is there by now stays: Python need not look for cycles in it again and again.
    gc.collect()
    gc.freeze()
    yield


def create_gateway(other: "App | str", settings: Settings, celery: Celery | None = None) -> Gateway:
    """The service in front of another app.

    Args:
        other: The app, or where it is ("module:attribute").
        settings: As for `create_app`.
        celery: As for `create_app`.
    """
    gateway = Gateway(other, celery=celery or "tasks:celery", settings=settings)
    gateway.front.include_router(health_router(settings, _later(celery)))
    return gateway


def _served(settings: Settings) -> "App":
    if settings.replayed_app == "app.main:app":
        return create_app(settings)
    other: Any = load(settings.replayed_app, object)
    # One that has the library itself needs nothing in front of it.
    return other if AsyncRequests.is_on(other) else RequestIds(create_gateway(other, settings))


configure_logging()
configure_tracing()
app = _served(config.settings)
