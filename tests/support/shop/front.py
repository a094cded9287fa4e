"""The shop with a hub, for pages of another origin: `SHOP_ORIGIN`."""

import os

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.middleware.cors import CORSMiddleware

from respond_async import Settings
from tests.support.shop.main import create_app
from ws_hub import Hub


def create_front() -> FastAPI:
    """As a team writes it whose pages are served elsewhere."""
    settings = Settings(hub_allowed_origins=[os.environ["SHOP_ORIGIN"]])
    app = create_app(settings)

    @app.get("/moved")
    async def moved(request: Request) -> RedirectResponse:
        return RedirectResponse("/sleep?seconds=0.2&name=moved", status_code=302)

    Hub(settings).install(app)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[os.environ["SHOP_ORIGIN"]],
        allow_methods=["*"],
        allow_headers=["*"],
    )
    return app


if "SHOP_ORIGIN" in os.environ:
    app = create_front()
