"""ASGI_APP and UPSTREAM_URL: apps that know nothing of the library, through broker and worker."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.differential.cases import HTTPBIN
from tests.support.differential.wire import CHANNEL, HOST, Answered, Case, asked
from tests.support.ports import free_port
from tests.support.service import ROOT, Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

APP = "tests.support.differential.httpbin_app:app"
RESULT = "/api/v1/async_background_response/"


@pytest.fixture(scope="module")
def httpbin() -> Iterator[str]:
    """httpbin in a server process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", APP, "--port", str(port), "--no-access-log"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(port), within=20, what="httpbin")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=["ASGI_APP", "UPSTREAM_URL"])
def service(
    request: pytest.FixtureRequest,
    kafka: str,
    redis_url: str,
    httpbin: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    setting = {"ASGI_APP": APP, "UPSTREAM_URL": httpbin}
    directory = tmp_path_factory.mktemp(request.param)
    chosen = {
        request.param: setting[request.param],
        "CLAIM_STORE": f"file://{directory}/claims",
        "ENDPOINT_OPTIONS": '{"GET /delay/{seconds}": {"timeout": 3}, "/delay/9": {"timeout": 99}}',
    }
    with Service(directory, kafka, redis_url, **chosen) as running:
        running.worker("w1")
        yield running


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/status/200").is_success
    except httpx.TransportError:
        return False


def through(service: Service, case: Case) -> Answered:
    """The answer by way of 202 and result, in the form of a direct one."""
    accepted = asked(service.port, case, ("X-Async-Request", CHANNEL))
    assert accepted.status == 202, accepted
    location = dict(accepted.headers)["location"]
    task_id = location.removeprefix(RESULT).strip("/")
    envelope = service.result(task_id, CHANNEL)
    headers = [
        (name, value)
        for name, values in envelope["headers"].items()
        for value in (values if isinstance(values, list) else [values])
    ]
    response = envelope["response"]
    if envelope.get("encoding") == "base64":
        body = base64.b64decode(response)
    elif isinstance(response, str):
        body = response.encode()
    else:
        # JSON stands in the envelope as it was; parsed, it is compared with the direct one parsed.
        body = httpx.Response(200, json=response).content
    return Answered(envelope["status"], tuple(headers), body)


def comparable(answer: Answered) -> Any:
    headers = sorted(
        (name.lower(), value)
        for name, value in answer.headers
        # The server's own framing of a direct answer.
        if name.lower() not in ("connection", "transfer-encoding", "date", "server", "x-request-id")
    )
    coded = any(name == "content-encoding" for name, _ in headers)
    try:
        body = None if coded else httpx.Response(200, content=answer.body).json()
        # httpbin shows the headers that it was sent; a direct request has one less.
        if isinstance(body, dict) and "headers" in body:
            body["headers"].pop("X-Async-Request", None)
            headers = [(name, value) for name, value in headers if name != "content-length"]
    except ValueError:
        body = answer.body
    return answer.status, headers, body or None


def test_httpbin_answers_the_same_directly_and_later(service: Service) -> None:
    def pair(case: Case) -> tuple[Case, Answered, Answered]:
        return case, asked(service.port, case), through(service, case)

    # httpbin seeds the one generator that all its threads share.
    # Flask names the methods in another order in each process. It packs what it was sent into the coded ones. A Bearer token must be one of ours.
    odd = ("seed=", "/brotli", "/deflate", "/bearer", "OPTIONS")
    cases = [
        case
        for case in HTTPBIN
        if not any(word in f"{case.method} {case.target!r}" for word in odd)
    ][::2]
    assert len(cases) > 40
    with ThreadPoolExecutor(8) as threads:
        for case, direct, later in threads.map(pair, cases):
            assert comparable(later) == comparable(direct), str(case)


def test_an_endpoint_has_the_options_that_the_setting_names(service: Service) -> None:
    # Without them it answers 200, after nine seconds.
    assert through(service, Case("GET", "/delay/9?any")).status == 504


def test_the_api_sees_who_asked(service: Service) -> None:
    case = Case("GET", "/headers?show_env=1", (("X-Twice", "1"),))
    seen = httpx.Response(200, content=through(service, case).body).json()["headers"]
    if "UPSTREAM_URL" in service.environment:
        assert seen["X-Forwarded-For"] == "127.0.0.1"
        assert seen["X-Forwarded-Host"] == HOST
        assert seen["X-Forwarded-Proto"] == "http"
        assert "X-Async-Request" not in seen
        assert seen["Host"] == service.environment["UPSTREAM_URL"].removeprefix("http://")
    else:
        assert seen["Host"] == HOST
        assert "X-Forwarded-Host" not in seen


def test_large_bodies_pass_and_leave_nothing_behind(service: Service) -> None:
    body = bytes(range(256)) * 8000
    case = Case("POST", "/post", (("Content-Type", "application/octet-stream"),), body)
    direct, later = asked(service.port, case), through(service, case)
    pick = ("data", "json", "form")
    first, second = (httpx.Response(200, content=a.body).json() for a in (direct, later))
    assert {k: first[k] for k in pick} == {k: second[k] for k in pick}
    claims = service.directory / "claims"
    wait_until(
        lambda: not list(claims.glob("*body*")), within=10, what="the body's removal after use"
    )


def test_an_upstream_that_is_away_is_a_502(kafka: str, redis_url: str, tmp_path: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Service(tmp_path, kafka, redis_url, UPSTREAM_URL=url) as service:
        answer = service.client.get("/anything")
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert url not in answer.text
