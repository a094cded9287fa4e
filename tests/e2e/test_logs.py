"""What the log of a running service says of requests, and what it never says."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

CHANNEL = "channel-hush-hush-hush"
QUERY = "card=query-hush-hush"
BODY = b"body-hush-hush"

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def service(
    kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("logs"), kafka, redis_url,
        ASGI_APP="tests.support.measured:app", LOG_FORMAT="json",
    ) as running:  # fmt: skip
        running.worker("w1")
        yield running


def lines(text: str) -> Lines:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert found
    return found


def ends(service: Service, task_id: str) -> Lines:
    every = lines(service.workers[0].output()) + lines(service.log())
    return [line for line in every if line.get("task_id") == task_id and "outcome" in line]


def ended(service: Service, task_id: str) -> dict[str, Any]:
    wait_until(lambda: ends(service, task_id), within=10, what="the line of its end")
    [line] = ends(service, task_id)
    return line


def task_of(answer: Any) -> str:
    return str(answer.json()["meta"]["async_request_id"])


def test_a_request_has_the_same_ids_in_app_and_worker(service: Service) -> None:
    token = service.token_of("alice")
    headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "from-the-proxy.1"}
    answer = service.accepted("POST", f"/orders/1?{QUERY}", headers=headers, content=BODY)
    assert answer.headers["x-request-id"] == "from-the-proxy.1"
    line = ended(service, task_of(answer))
    assert line["request_id"] == "from-the-proxy.1"
    assert line["user"] == "alice"
    assert (line["outcome"], line["status"], line["attempts"]) == ("answered", 200, 1)
    assert line["duration_seconds"] >= line["run_seconds"] > 0
    assert line["event"].startswith("POST /orders/1 ended: answered 200 in")

    def access() -> Lines:
        return [
            one
            for one in lines(service.log())
            if one["logger"] == "uvicorn.access" and one.get("request_id") == "from-the-proxy.1"
        ]

    wait_until(access, within=10, what="the access line")
    [one] = access()
    assert (one["task_id"], one["user"]) == (task_of(answer), "alice")


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", 'quo"te', "line%0a"])
def test_an_id_that_is_missing_or_no_id_is_made(service: Service, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    answer = service.accepted("POST", "/orders/2", CHANNEL, headers=headers)
    made = answer.headers["x-request-id"]
    assert len(made) == 32
    assert ended(service, task_of(answer))["request_id"] == made


def test_an_answer_goes_out_with_the_id_of_the_request_that_fetches_it(service: Service) -> None:
    answer = service.accepted("POST", "/orders/3", CHANNEL, headers={"X-Request-ID": "one"})
    envelope = service.result(task_of(answer), CHANNEL)
    assert "x-request-id" not in json.dumps(envelope["headers"]).lower()
    raw = service.client.get(
        answer.headers["location"] + "raw",
        params={"channel": CHANNEL},
        headers={"X-Request-ID": "two"},
    )
    assert raw.headers.get_list("x-request-id") == ["two"]


def test_each_end_is_one_line(service: Service) -> None:
    outcomes = {
        "/refuses": ("answered", 409, 1),
        "/breaks": ("answered", 500, 1),
        # Another one each time: it fails once and never again.
        f"/flaky/{uuid4().hex}": ("answered", 200, 2),
    }
    for path, (outcome, status, attempts) in outcomes.items():
        task_id = task_of(service.accepted("GET", path, CHANNEL))
        service.result(task_id, CHANNEL)
        line = ended(service, task_id)
        assert (line["outcome"], line["status"], line["attempts"]) == (outcome, status, attempts)
    answer = service.accepted("GET", "/waits/60", CHANNEL)
    service.client.delete(answer.headers["location"], params={"channel": CHANNEL})
    assert ended(service, task_of(answer))["outcome"] == "cancelled"
    # Celery's own line for the same end is not there.
    assert "succeeded in" not in service.workers[0].output()


def test_no_line_holds_a_token_a_body_a_query_or_a_channel(service: Service) -> None:
    token = service.token_of("bob")
    headers = {"Authorization": f"Bearer {token}", "Cookie": "session=cookie-hush-hush"}
    tasks = [
        service.accepted("POST", f"/orders/4?{QUERY}", headers=headers, content=BODY),
        service.accepted("GET", f"/breaks?{QUERY}", CHANNEL),
    ]
    for answer in tasks:
        ended(service, task_of(answer))
    service.client.get(answer.headers["location"], params={"channel": CHANNEL})
    wait_until(
        lambda: "async_background_response" in service.log(), within=10, what="the access line"
    )
    said = service.log() + service.workers[0].output()
    assert "hush" not in said
    assert token not in said
    # Nor a part of it that would be enough.
    assert token.rpartition(".")[2] not in said
