"""The demo endpoints, asked without the header."""

import asyncio
import csv
import io
import threading
from typing import Any, BinaryIO

import httpx
import pytest
from celery import Celery
from fastapi import FastAPI

from app.demo import report
from app.demo.csv_profile import CsvProfile, profile
from app.main import create_app
from respond_async import Settings
from tests.support.ports import free_port

KEY = "k" * 64
PEOPLE = b"name,age,born\nAnn,41,1984-02-29\nBob,,1990-01-01\n"


def settings(**changes: Any) -> Settings:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    given: dict[str, Any] = {"secret_key": [KEY], "redis_url": nowhere, **changes}
    return Settings(**given)


def made(**changes: Any) -> FastAPI:
    celery = Celery("t", broker="memory://", set_as_current=False)
    return create_app(settings(**changes), celery=celery)


class Client:
    """Sends single requests to an app in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(self._send("GET", path, **request))

    def post(self, path: str, **request: Any) -> httpx.Response:
        return asyncio.run(self._send("POST", path, **request))

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, **request)


@pytest.fixture
def client() -> Client:
    return Client(made())


@pytest.fixture
def developing() -> Client:
    return Client(made(environment="development"))


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    return body


def test_a_csv_report_tells_of_each_column(client: Client) -> None:
    answer = client.post("/api/v1/demo/csv-report", files={"file": ("people.csv", PEOPLE)})
    assert answer.status_code == 200
    report = answer.json()
    assert (report["rows"], report["ragged_rows"], report["delimiter"]) == (2, 0, ",")
    assert report["columns"][1] == {
        "name": "age",
        "type": "integer",
        "count": 1,
        "missing": 1,
        "min": 41,
        "max": 41,
        "mean": 41.0,
    }
    assert [column["type"] for column in report["columns"]] == ["text", "integer", "date"]


def test_a_csv_report_can_be_downloaded_as_csv(client: Client) -> None:
    answer = client.post(
        "/api/v1/demo/csv-report",
        params={"format": "csv"},
        files={"file": ("Müller's people.csv", PEOPLE)},
    )
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="M_ller_s people-report.csv"; '
        "filename*=UTF-8''M%C3%BCller%27s%20people-report.csv"
    )
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["name"] for line in lines] == ["name", "age", "born"]


@pytest.mark.parametrize("name", ['x"; filename="y', "a\r\nSet-Cookie: b", "../../etc/passwd"])
def test_a_download_is_named_safely_whatever_the_upload_was_called(
    client: Client, name: str
) -> None:
    answer = client.post(
        "/api/v1/demo/csv-report", params={"format": "csv"}, files={"file": (name, PEOPLE)}
    )
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    disposition = answer.headers["Content-Disposition"]
    assert disposition.count('"') == 2
    assert "/" not in disposition


def test_a_file_that_is_no_csv_is_a_problem_that_says_why(client: Client) -> None:
    answer = client.post("/api/v1/demo/csv-report", files={"file": ("x.csv", b"a\n\xfc\n")})
    problem = is_problem(answer, 422)
    assert "UTF-8" in problem["detail"]
    assert problem["instance"] == "/api/v1/demo/csv-report"


@pytest.mark.parametrize(
    "bad",
    [
        {"files": {"other": ("x.csv", b"a\n")}},
        {"files": {"file": ("x.csv", b"a\n")}, "params": {"format": "xml"}},
        {"json": {"file": "a"}},
    ],
)
def test_a_wrong_form_or_format_is_refused(client: Client, bad: dict[str, Any]) -> None:
    assert client.post("/api/v1/demo/csv-report", **bad).status_code == 422


def test_a_report_that_takes_long_leaves_the_event_loop_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, may_end = threading.Event(), threading.Event()

    def slow(file: BinaryIO, _batch_read: object) -> CsvProfile:
        started.set()
        assert may_end.wait(30)
        return profile(file)

    monkeypatch.setattr(report, "profile", slow)

    async def scene() -> None:
        transport = httpx.ASGITransport(made())
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            files = {"file": ("people.csv", PEOPLE)}
            posted = asyncio.create_task(client.post("/api/v1/demo/csv-report", files=files))
            assert await asyncio.to_thread(started.wait, 30)
            assert (await client.get("/livez")).status_code == 200
            assert not posted.done()
            may_end.set()
            assert (await posted).status_code == 200

    asyncio.run(scene())


def test_the_asynchronous_only_report_is_refused_without_the_header(client: Client) -> None:
    answer = client.post("/api/v1/demo/report", files={"file": ("people.csv", PEOPLE)})
    is_problem(answer, 409)


def test_sleep_answers_how_long_it_took_its_time(client: Client) -> None:
    answer = client.get("/api/v1/demo/sleep", params={"seconds": 0.01})
    assert answer.json() == {"slept_seconds": 0.01}


@pytest.mark.parametrize("seconds", ["-1", "3601", "nan", "inf", "soon"])
def test_sleep_is_bounded(client: Client, seconds: str) -> None:
    assert client.get("/api/v1/demo/sleep", params={"seconds": seconds}).status_code == 422


@pytest.mark.parametrize("status", [400, 403, 418, 499, 503, 599])
def test_fail_answers_the_status_asked_for(client: Client, status: int) -> None:
    is_problem(client.get("/api/v1/demo/fail", params={"status": status}), status)


@pytest.mark.parametrize("status", ["200", "399", "600", "x"])
def test_fail_answers_errors_only(client: Client, status: str) -> None:
    assert client.get("/api/v1/demo/fail", params={"status": status}).status_code == 422


def test_a_development_token_says_who_one_is(developing: Client) -> None:
    token = developing.post("/api/v1/demo/token", json={"sub": "ann"}).json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    answer = developing.get("/api/v1/demo/me", headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {"sub": "ann"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer a.b.c"}])
def test_me_is_nobody_without_a_valid_token(client: Client, headers: dict[str, str]) -> None:
    answer = client.get("/api/v1/demo/me", headers=headers)
    is_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("sub", ["", "a" * 256, "a\nb", None, 5])
def test_a_token_is_for_somebody(developing: Client, sub: object) -> None:
    assert developing.post("/api/v1/demo/token", json={"sub": sub}).status_code == 422


def test_there_are_no_tokens_to_have_in_production(client: Client) -> None:
    assert client.post("/api/v1/demo/token", json={"sub": "ann"}).status_code == 404
    assert "/api/v1/demo/token" not in client.get("/openapi.json").json()["paths"]


def test_models_of_one_name_are_told_apart_in_the_documentation(developing: Client) -> None:
    schema = developing.get("/openapi.json").json()
    create = schema["paths"]["/api/v1/tasks/"]["post"]["requestBody"]["content"]["application/json"]
    (export,) = (
        task["properties"]["arguments"]
        for task in create["schema"]["oneOf"]
        if task["title"] == "order_export"
    )
    shown = export["properties"]["file_format"]["$ref"].rpartition("/")[2]
    models = schema["components"]["schemas"]
    assert models[shown]["enum"] == ["csv", "json"]
    assert models["Format"]["enum"] != models[shown]["enum"]


def test_without_a_key_there_is_a_problem_instead_of_a_token() -> None:
    client = Client(made(environment="development", secret_key=[]))
    problem = is_problem(client.post("/api/v1/demo/token", json={"sub": "ann"}), 503)
    assert "SECRET_KEY" in problem["detail"]


def test_the_process_is_alive_while_redis_is_not(client: Client) -> None:
    assert client.get("/livez").json() == {"status": "ok"}


def test_readiness_names_what_does_not_answer(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["checks"]["broker"] == "ok"
    assert "ConnectionError" in answer.json()["checks"]["redis"]
