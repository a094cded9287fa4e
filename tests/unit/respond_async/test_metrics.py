"""Labels are few, whatever clients send."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette

from respond_async.envelope import CapturedRequest
from respond_async.metrics import routes
from respond_async.metrics.routes import OTHER, Routes
from respond_async.metrics.worker import _exemplar


def scope(method: str, path: str, **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [], **more}


@pytest.fixture
def app() -> FastAPI:
    made, router = FastAPI(), APIRouter(prefix="/orders")

    @router.get("/{number}")
    @router.put("/{number}")
    def order(number: int) -> None:
        """Any."""

    made.include_router(router, prefix="/api")
    made.mount("/old", Starlette())
    return made


@pytest.mark.parametrize(
    ("method", "path", "label"),
    [
        ("GET", "/api/orders/1", "GET /api/orders/{number}"),
        ("PUT", "/api/orders/a-secret", "PUT /api/orders/{number}"),
        ("DELETE", "/api/orders/1", OTHER),
        ("GET", "/nowhere", OTHER),
        ("POST", "/old/anything/below", "POST /old"),
        ("ANYTHING-A-CLIENT-LIKES", "/old/x", OTHER),
    ],
)
def test_an_endpoint_is_its_method_and_template(
    app: FastAPI, method: str, path: str, label: str
) -> None:
    assert Routes(app.router).label(scope(method, path)) == label


def test_a_prefix_of_the_proxy_is_no_part_of_it(app: FastAPI) -> None:
    asked = scope("GET", "/shop/api/orders/1", root_path="/shop")
    assert Routes(app.router).label(asked) == "GET /api/orders/{number}"


def test_a_route_that_is_added_later_is_known(app: FastAPI) -> None:
    found = Routes(app.router)
    assert found.label(scope("GET", "/later")) == OTHER
    app.add_api_route("/later", lambda: None)
    assert found.label(scope("GET", "/later")) == "GET /later"


def test_there_are_no_more_labels_than_may_be(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_MOST_LABELS", 3)
    for number in range(10):
        app.add_api_route(f"/made/{number}", lambda: None)
    found = Routes(app.router)
    labels = {found.label(scope("GET", f"/made/{number}")) for number in range(10)}
    assert labels == {"GET /made/0", "GET /made/1", "GET /made/2", OTHER}


def test_an_app_without_a_router_has_one_label() -> None:
    assert Routes(None).label(scope("GET", "/x")) == OTHER


@pytest.mark.parametrize(
    ("given", "trace"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (b"00-" + b"x" * 4000 + b"-00f067aa0ba902b7-01", False),
        (b"00-\xe9\xe9-00f067aa0ba902b7-01", False),
        (b"nonsense", False),
    ],
)
def test_an_exemplar_is_short_whatever_a_client_sends(given: bytes, trace: bool) -> None:
    asked = scope("GET", "/x", headers=[(b"traceparent", given)])
    request = CapturedRequest.of(asked, "i" * 64, datetime.now(UTC), "anon.c")
    exemplar = _exemplar(request)
    assert exemplar["task_id"] == "i" * 64
    assert ("trace_id" in exemplar) == trace
    # OpenMetrics: 128 characters of names and values.
    assert sum(len(name) + len(value) for name, value in exemplar.items()) <= 128
