"""The page at `/`: uploads a CSV, shows its report, lists and cancels requests.

Plain HTML, CSS and JavaScript modules, without a build; the client is `clients/js`, as it is.
"""

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["install_page"]

_STATIC: Final = Path(__file__).parent / "static"
_CLIENT: Final = Path(__file__).parents[2] / "clients" / "js" / "src"

_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline; 'self' covers the hub's WebSocket too.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked each time whether it is still the same: the answer is a 304.
    "Cache-Control": "no-cache",
}


class _Static(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def install_page(app: FastAPI) -> None:
    """Adds the page and what it loads, below `/page`."""
    app.router.routes += [
        Route("/", _page, include_in_schema=False),
        Mount("/page/client", _Static(directory=_CLIENT)),
        Mount("/page", _Static(directory=_STATIC)),
    ]


async def _page(_: Request) -> Response:
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)
