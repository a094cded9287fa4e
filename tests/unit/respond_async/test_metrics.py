"""Labels are few, whatever clients send."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry, Histogram
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from respond_async.envelope import CapturedRequest
from respond_async.metrics import routes, worker
from respond_async.metrics.routes import OTHER, Routes
from respond_async.metrics.worker import _exemplar
from ws_hub.metrics import SECONDS


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
    app.router.routes.insert(0, Route("/{any}", lambda _: Response()))
    assert found.label(scope("GET", "/later")) == "GET /{any}"


def test_the_first_route_that_takes_it_is_its_label_each_time() -> None:
    app = FastAPI()
    app.add_api_route("/orders/{number}", lambda: None, methods=["GET"])
    for method in ("GET", "PUT"):
        app.add_api_route("/orders/latest", lambda: None, methods=[method])
    found = Routes(app.router)
    for _ in range(2):
        assert found.label(scope("GET", "/orders/latest")) == "GET /orders/{number}"
        assert found.label(scope("PUT", "/orders/latest")) == "PUT /orders/latest"
        assert found.label(scope("DELETE", "/orders/latest")) == OTHER


def test_what_clients_make_up_is_not_kept(app: FastAPI) -> None:
    found = Routes(app.router)
    for number in range(100):
        found.label(scope("GET", f"/api/orders/{number}"))
        found.label(scope("GET", f"/nowhere/{number}"))
        found.label(scope(f"MADE-UP-{number}", "/old/x"))
    assert len(found._fixed) == 0
    assert len(found._labels) == 1


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
    exemplar = _exemplar(request, None)
    assert exemplar["task_id"] == "i" * 64
    assert ("trace_id" in exemplar) == trace
    # OpenMetrics: 128 characters of names and values.
    assert sum(len(name) + len(value) for name, value in exemplar.items()) <= 128


def test_a_bucket_shows_who_can_be_looked_up_longer_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, trace = 1000.0, ""
    monkeypatch.setattr(worker, "monotonic", lambda: now)
    monkeypatch.setattr(worker, "trace_id", lambda **_: trace)
    registry = CollectorRegistry()
    timed = worker._Timed(Histogram("run", "", ("endpoint",), registry=registry, buckets=SECONDS))

    def observed(task_id: str, seconds: float = 0.02) -> str | None:
        request = CapturedRequest.of(scope("GET", "/x"), task_id, datetime.now(UTC), "anon.c")
        timed.observe(request, seconds, traced=bool(trace))
        (family,) = registry.collect()
        shown = [s.exemplar for s in family.samples if s.exemplar and s.exemplar.value == seconds]
        return shown[0].labels["task_id"] if shown else None

    assert observed("1") == "1"
    assert observed("2") == "1"
    assert observed("another bucket's", 2.0) == "another bucket's"
    now += 1.5
    assert observed("3") == "3"
    trace = "a trace"
    assert observed("4") == "4"
    assert observed("5") == "5"
    trace = ""
    now += 50
    assert observed("6") == "5"
    now += 50
    assert observed("7") == "7"
    # A bound is the last of its bucket.
    assert observed("8", 0.08) == "8"
    assert observed("9", 0.05) == "9"
    assert registry.get_sample_value("run_count", {"endpoint": OTHER}) == 10
