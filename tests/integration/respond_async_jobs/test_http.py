"""`/api/v1/tasks/` as clients see it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from fastapi import FastAPI
from fastapi.testclient import TestClient

from respond_async import AsyncRequests, Jobs, Settings, TaskError, install_tasks
from tests.integration.respond_async_jobs.conftest import Client
from tests.support.jobs import functions
from tests.support.waiting import wait_until
from ws_hub import TokenVerifier

pytestmark = pytest.mark.usefixtures("worker")
PICTURE = {"name": "jobs.resized", "arguments": {"picture": {"width": 8, "height": 4}}}
TASKS = "/api/v1/tasks/"


@pytest.fixture(scope="module")
def http(client: Client, settings: Settings, celery: Celery) -> Iterator[TestClient]:
    app = FastAPI()
    AsyncRequests(app, celery=celery, settings=settings)
    install_tasks(app, Jobs(celery, settings, functions.CONFIG))

    @app.get("/unlucky")
    async def unlucky() -> None:
        raise TaskError("no_luck", "Not today.", {"day": 13})

    with TestClient(app, raise_server_exceptions=False) as http:
        yield http


@pytest.fixture(scope="module")
def alice(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenVerifier(settings).issue('alice', 600)}"}


@pytest.fixture(scope="module")
def bob(settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenVerifier(settings).issue('bob', 600)}"}


def created(http: TestClient, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    answer = http.post(TASKS, json={**PICTURE, **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{TASKS}{body['id']}/"
    return body


def test_a_task_is_created_listed_and_read(http: TestClient, alice: dict[str, str]) -> None:
    task_id = created(http, alice)["id"]

    def done() -> dict[str, Any] | None:
        body: dict[str, Any] = http.get(f"{TASKS}{task_id}/", headers=alice).json()
        return body if body["status"] == "COMPLETED" else None

    body = wait_until(done, within=20, what="the end")
    assert body["result"] == {"width": 4, "height": 2}
    assert "channel" not in body
    listed = http.get(TASKS, params={"status": "COMPLETED"}, headers=alice).json()
    assert task_id in [each["id"] for each in listed["tasks"]]
    assert http.get(f"{TASKS}{task_id}/progress", headers=alice).json()["progress"]["total"] == 3
    assert http.get(f"{TASKS}{task_id}/logs", headers=alice).json() == []


def test_its_events_come_as_they_happen_until_its_end(
    http: TestClient, alice: dict[str, str]
) -> None:
    task_id = created(http, alice)["id"]
    with http.stream("GET", f"{TASKS}{task_id}/events", headers=alice) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert events[-1]["status"] == "COMPLETED"
    versions = [each["version"] for each in events]
    assert versions == sorted(set(versions))
    assert any(each["progress"] for each in events[:-1])


def test_nobody_sees_or_ends_what_is_anothers(
    http: TestClient, alice: dict[str, str], bob: dict[str, str]
) -> None:
    task_id = created(http, alice, delay=60)["id"]
    calls = [("GET", ""), ("GET", "progress"), ("GET", "logs"), ("GET", "events")]
    for method, path in [*calls, ("POST", "cancel"), ("POST", "retry"), ("DELETE", "")]:
        url = f"{TASKS}{task_id}/{path}"
        refused = http.request(method, url, headers=bob)
        assert refused.status_code == 404, path
        assert refused.headers["content-type"] == "application/problem+json"
        assert http.request(method, url).status_code == 401, path
    assert http.get(TASKS, headers=bob).json()["tasks"] == []
    assert http.get(TASKS).status_code == 401
    assert http.post(TASKS, json=PICTURE).status_code == 401
    cancelled = http.post(f"{TASKS}{task_id}/cancel", headers=alice)
    assert cancelled.json()["status"] == "CANCELLED"
    assert cancelled.json()["error"]["code"] == "cancelled"


def test_what_has_ended_is_run_again_and_forgotten(http: TestClient, alice: dict[str, str]) -> None:
    task_id = created(http, alice, delay=60)["id"]
    for call in (("POST", f"{TASKS}{task_id}/retry"), ("DELETE", f"{TASKS}{task_id}/")):
        refused = http.request(*call, headers=alice)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_ended")
    http.post(f"{TASKS}{task_id}/cancel", headers=alice)
    again = http.post(f"{TASKS}{task_id}/retry", headers=alice)
    assert again.status_code == 201
    assert again.json()["id"] != task_id
    assert again.headers["location"] == f"{TASKS}{again.json()['id']}/"
    assert http.delete(f"{TASKS}{task_id}/", headers=alice).status_code == 204
    assert http.get(f"{TASKS}{task_id}/", headers=alice).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "jobs.doubled", "arguments": {"number": 1}},
        {"name": "no.such"},
        {"name": "jobs.resized", "arguments": {"picture": {"width": "wide"}}},
        {"name": "jobs.resized", "arguments": {"channel": "user.bob"}},
        {**PICTURE, "arguments": {**PICTURE["arguments"], "webhook": "http://a"}},  # type: ignore[dict-item]
    ],
)
def test_what_cannot_be_created_is_a_problem(
    http: TestClient, alice: dict[str, str], wrong: dict[str, Any]
) -> None:
    answer = http.post(TASKS, json=wrong, headers=alice)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_arguments"


def test_the_documentation_says_which_tasks_there_are(http: TestClient) -> None:
    schema = http.get("/openapi.json").json()
    body = schema["paths"][TASKS]["post"]["requestBody"]["content"]["application/json"]["schema"]
    by_name = {each["properties"]["name"]["const"]: each for each in body["oneOf"]}
    described = by_name["jobs.resized"]
    assert "jobs.doubled" not in by_name
    arguments = described["properties"]["arguments"]
    assert arguments["required"] == ["picture"]
    assert arguments["properties"]["picture"]["$ref"] == "#/components/schemas/Picture"
    assert schema["components"]["schemas"]["Picture"]["required"] == ["width", "height"]


def test_an_async_header_does_not_make_a_request_of_it(
    http: TestClient, alice: dict[str, str]
) -> None:
    assert http.get(TASKS, headers={**alice, "X-Async-Request": "true"}).status_code == 200


def test_an_error_of_a_handlers_own_is_a_problem(http: TestClient) -> None:
    answer = http.get("/unlucky")
    assert (answer.status_code, answer.json()["code"]) == (400, "no_luck")
    assert answer.json()["details"] == {"day": 13}
