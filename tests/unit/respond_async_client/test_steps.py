"""What the Python client does where no server matters: failures, pauses, what is passed through."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest

from respond_async.client import AsyncRequestTransport, ResultUnavailable

ACCEPTED = {"data": None, "meta": {"async_request_id": "t1"}}
LOCATION = {"Location": "/results/t1/"}
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("respond_async.client.driving.time.sleep", pauses.append)
    return pauses


def accepted() -> httpx.Response:
    return httpx.Response(202, json=ACCEPTED, headers=LOCATION)


def pending(**headers: str) -> httpx.Response:
    given = {"X-Async-Status": "pending", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx.Response(202, json={"task_id": "t1", "status": "not ready"}, headers=given)


class Service:
    """Answers what it is given, in order; exceptions are raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers: Iterator[httpx.Response | Exception] = iter(answers)
        self.asked: list[str] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        self.requests.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get(self, **headers: str) -> httpx.Response:
        transport = AsyncRequestTransport(httpx.MockTransport(self), wait_seconds=25)
        with httpx.Client(transport=transport) as client:
            return client.get("http://shop/x?y=1", headers=headers, extensions={"async": True})


def test_a_202_of_the_endpoints_own_is_an_answer() -> None:
    service = Service(accepted(), httpx.Response(202, json={"mine": True}))
    assert service.get().json() == {"mine": True}
    assert service.asked == ["GET /x?y=1", "GET /results/t1/raw?wait=25.000"]


@pytest.mark.parametrize("status", [200, 202, 400, 401, 409, 413, 429, 503])
def test_what_was_not_accepted_is_passed_through(status: int) -> None:
    service = Service(httpx.Response(status, json={"title": "No"}))
    assert service.get().status_code == status
    assert len(service.asked) == 1


def test_a_service_that_does_not_wait_is_asked_when_it_says(slept: list[float]) -> None:
    service = Service(accepted(), pending(Retry_After="7"), httpx.Response(200))
    assert service.get().status_code == 200
    assert slept == [pytest.approx(7, abs=0.5)]


def test_a_network_that_fails_while_it_waits_is_no_answer(slept: list[float]) -> None:
    errors = [httpx.ReadTimeout("r"), httpx.ConnectError("c"), httpx.RemoteProtocolError("p")]
    service = Service(accepted(), *errors, httpx.Response(200))
    assert service.get().status_code == 200
    assert len(slept) == 3


def test_a_network_that_fails_before_is_an_error() -> None:
    with pytest.raises(httpx.ConnectError):
        Service(httpx.ConnectError("c")).get()


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
def test_a_status_that_is_the_answers_own_is_told_from_the_result_endpoints(status: int) -> None:
    envelope = httpx.Response(200, json={"task_id": "t1", "status": status})
    service = Service(accepted(), httpx.Response(status, text="mine"), envelope)
    answer = service.get()
    assert (answer.status_code, answer.text) == (status, "mine")
    assert service.asked[-1] == "GET /results/t1/"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_result_that_is_gone_is_said_to_be(status: int) -> None:
    refused = httpx.Response(status, json={"detail": "It is gone."})
    service = Service(accepted(), refused, refused)
    with pytest.raises(ResultUnavailable, match="It is gone") as raised:
        service.get()
    assert (raised.value.task_id, raised.value.status) == ("t1", status)
    assert not any(one.startswith("DELETE") for one in service.asked)


def test_a_storage_that_is_away_is_waited_for(slept: list[float]) -> None:
    away = httpx.Response(503, json={"detail": "Away."}, headers={"Retry-After": "2"})
    service = Service(accepted(), away, away, httpx.Response(200))
    assert service.get().status_code == 200
    assert len(slept) == 1


def test_ctrl_c_cancels_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("respond_async.client.driving.time.sleep", interrupted)
    service = Service(accepted(), pending(), httpx.Response(200))
    with pytest.raises(KeyboardInterrupt):
        service.get()
    assert service.asked[-1] == "DELETE /results/t1/"


def test_who_asked_asks_for_the_result() -> None:
    service = Service(accepted(), httpx.Response(200))
    service.get(Authorization="Bearer x")
    for request in service.requests:
        assert request.headers["Authorization"] == "Bearer x"
        assert request.headers["X-Async-Request"] == "true"
    service = Service(accepted(), httpx.Response(200))
    service.get()
    first, second = (request.headers["X-Async-Request"] for request in service.requests)
    assert first == second
    assert len(first) >= 32


def test_a_long_poll_may_take_longer_than_the_clients_read_timeout() -> None:
    service = Service(accepted(), httpx.Response(200))
    service.get()
    first, second = (request.extensions["timeout"]["read"] for request in service.requests)
    assert (first, second) == (5, 35)


def test_a_setting_that_is_not_known_is_refused() -> None:
    with (
        httpx.Client(transport=AsyncRequestTransport(httpx.MockTransport(Service()))) as client,
        pytest.raises(ValueError, match="timeout"),
    ):
        client.get("http://shop/", extensions={"async": {"deadline": 1}})


def test_neither_celery_nor_kafka_is_imported() -> None:
    program = (
        "import sys, respond_async.client;"
        "print(sorted({'celery', 'kombu', 'confluent_kafka', 'redis', 'fastapi', 'ws_hub'}"
        " & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
