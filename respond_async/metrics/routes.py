"""The label of a request's endpoint: its method and route template, never its path."""

from typing import Any, Final

from fastapi import routing
from starlette.routing import Router

from respond_async.options import route_path
from respond_async.scope import Scope

#: Of what no route is known for.
OTHER: Final = "other"
#: Labels beyond so many are `OTHER`: an app that makes routes as it runs must not fill the memory.
_MOST_LABELS: Final = 500
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"}
)


class Routes:
    """The labels of one app's endpoints.

    Args:
        router: The app's; None: there is none to ask, every label is `OTHER`.
    """

    def __init__(self, router: Router | None) -> None:
        self._router: Final = router
        self._size = -1
        self._routes: list[tuple[Any, Any, str]] = []
        self._labels: Final[dict[tuple[str, str], str]] = {}
        #: Of paths that are a route's, with no parameter in it, by method and path.
        self._fixed: dict[tuple[str, str], str] = {}

    def label(self, scope: Scope) -> str:
        """`POST /orders/{order_id}` for one request."""
        if self._router is None:
            return OTHER
        if self._size != len(self._router.routes):
            self._read(self._router)
        path, method = route_path(scope), scope["method"]
        label = self._fixed.get((method, path))
        return self._found(method, path) if label is None else label

    def _found(self, method: str, path: str) -> str:
        for match, methods, template in self._routes:
            if (not methods or method in methods) and match(path) is not None:
                label = self._label(method, template)
                if path == template and label is not OTHER:
                    self._fixed[method, path] = label
                return label
        return OTHER

    def _label(self, method: str, template: str) -> str:
        label = self._labels.get((method, template))
        if label is None:
            if method not in _METHODS or len(self._labels) >= _MOST_LABELS:
                return OTHER
            label = self._labels[method, template] = f"{method} {template}"
        return label

    def _read(self, router: Router) -> None:
        self._size = len(router.routes)
        self._fixed = {}
        # FastAPI before 0.130 or so has the routes of included routers in the app's own list.
        expanded: Any = getattr(routing, "iter_route_contexts", iter)
        self._routes = [
            (route.path_regex.match, getattr(route, "methods", None), str(route.path))
            for route in expanded(router.routes)
            if getattr(route, "path_regex", None) is not None
        ]
