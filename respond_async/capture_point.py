"""Where in a FastAPI app requests are captured, and which."""

from collections.abc import Collection
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Route, Router

from respond_async.capture import Capture
from respond_async.options import OptionPatterns, OptionsTable, route_path
from respond_async.raw_request import App, RawRequest, Receive, Send
from respond_async.scope import RAW_REQUEST, Scope

_PLAIN: Final = frozenset({Route, APIRoute})


class CapturePoint:
    """Stands between a FastAPI app's middlewares and its router.

    Here, and not in a dependency, so that mounted apps, plain routes and bodies that FastAPI
    cannot parse are captured too; and behind the middlewares, so that they refuse what they
    refuse and add their headers (CORS) to the 202. What no route takes (404, 405, a redirect to
    the path with a slash) is answered at once: a worker would give the same answer.

    Args:
        app: What routes.
        router: Knows the routes.
        capture: Accepts.
        own: Routes of the library, which are never captured.
        patterns: The settings' options, which come before those of the endpoints.
    """

    def __init__(
        self,
        app: App,
        router: Router,
        capture: Capture,
        own: Collection[BaseRoute],
        patterns: OptionPatterns,
    ) -> None:
        self._app = app
        self._router = router
        self._capture = capture
        self._own = own
        self._patterns = patterns
        self._options = OptionsTable(router.routes)

    def exempt(self, routes: Collection[BaseRoute]) -> None:
        """Has these routes never captured either."""
        self._own = [*self._own, *routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection (ASGI)."""
        raw = scope.get(RAW_REQUEST)
        if scope["type"] != "http" or not isinstance(raw, RawRequest):
            await self._app(scope, receive, send)
        elif self._is_captured(scope):
            chosen = self._patterns.chosen(scope) or self._options.chosen(scope)
            response = await self._capture.accept(raw, chosen)
            await response(scope, receive, send)
        else:
            raw.release()
            await self._app(scope, receive, send)

    def _is_captured(self, scope: Scope) -> bool:
        path, method = route_path(scope), scope["method"]
        for route in self._router.routes:
            if type(route) in _PLAIN:
                # What their `matches` does, but for the scope that it makes.
                plain: Any = route
                taken = (not plain.methods or method in plain.methods) and plain.path_regex.match(
                    path
                )
            else:
                taken = route.matches(scope)[0] is Match.FULL
            if taken:
                return all(route is not own for own in self._own)
        return False
