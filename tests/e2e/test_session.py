"""The README's session: 202, a message over the WebSocket, the result; and what can go wrong."""

import http.client
import json
import secrets
import time
import uuid
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

RESULT = "/api/v1/async_background_response/{}/"
CSV = "name,age\nAda,36\nAlan,41\nGrace,\n" * 50_000


def channel_name() -> str:
    return secrets.token_urlsafe(24)


def hear(socket: Any, kind: str, within: float = 30) -> dict[str, Any]:
    """The next message of this type; pings in between are passed over."""
    deadline = time.monotonic() + within
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=deadline - time.monotonic()))
        if message["type"] == kind:
            return message


def plain(headers: dict[str, Any]) -> dict[str, Any]:
    """Headers without those that the server adds on the way and that tell the time."""
    return {k: v for k, v in headers.items() if k not in ("date", "server", "x-request-id")}


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("GET", "/api/v1/demo/sleep?seconds=0", {}),
        ("POST", "/api/v1/demo/csv-report?format=json", {"files": {"file": ("a.csv", CSV)}}),
        ("POST", "/api/v1/demo/csv-report?format=csv", {"files": {"file": ("a.csv", CSV)}}),
        ("GET", "/api/v1/demo/fail?status=403", {}),
        ("GET", "/api/v1/demo/fail?status=500", {}),
        ("GET", "/api/v1/demo/sleep?seconds=x", {}),
    ],
)
def test_the_answer_fetched_later_is_the_answer_of_a_direct_request(
    service: Service, method: str, path: str, request_: dict[str, Any]
) -> None:
    direct = service.client.request(method, path, **request_)
    channel = channel_name()
    with connect(f"{service.hub}?channel={channel}") as socket:
        hear(socket, "subscribed")
        accepted = service.accepted(method, path, channel, **request_)
        assert accepted.json()["data"] is None
        task_id = accepted.json()["meta"]["async_request_id"]
        assert accepted.headers["location"].endswith(RESULT.format(task_id))
        told = hear(socket, "data")
        assert json.loads(told["data"]) == {
            "task_id": task_id,
            "status": "completed",
            "action": "async_request",
        }
    # The message follows the stored result: it is there at once.
    answer = service.client.get(RESULT.format(task_id), headers={"X-Async-Request": channel})
    assert answer.status_code == 200
    envelope = answer.json()
    assert envelope["task_id"] == task_id
    assert envelope["status"] == direct.status_code
    assert envelope["endpoint"] == path
    assert plain(envelope["headers"]) == plain(dict(direct.headers))
    is_json = "json" in direct.headers["content-type"]
    assert envelope["response"] == (direct.json() if is_json else direct.text)


def test_a_users_own_channel_and_results_are_the_users_alone(service: Service) -> None:
    ada, alan = service.token("ada"), service.token("alan")
    as_ada, as_alan = ({"Authorization": f"Bearer {token}"} for token in (ada, alan))
    with (
        connect(f"{service.hub}?token={ada}") as socket,
        connect(f"{service.hub}?token={alan}") as other,
    ):
        hear(socket, "subscribed")
        hear(other, "subscribed")
        accepted = service.accepted("GET", "/api/v1/demo/me", headers=as_ada)
        task_id = accepted.json()["meta"]["async_request_id"]
        hear(socket, "data")
        with pytest.raises(TimeoutError):
            hear(other, "data", within=0.5)
    path = RESULT.format(task_id)
    mine = service.client.get(path, headers=as_ada)
    assert mine.status_code == 200
    assert mine.json()["response"]["sub"] == "ada"
    assert service.client.get(path, headers=as_alan).status_code == 403
    assert service.client.get(path).status_code == 401
    assert service.client.get(path, params={"channel": channel_name()}).status_code == 403


def test_an_anonymous_caller_without_a_channel_is_given_one(service: Service) -> None:
    accepted = service.accepted("GET", "/api/v1/demo/sleep?seconds=0")
    meta = accepted.json()["meta"]
    envelope = service.result(meta["async_request_id"], meta["channel"])
    assert envelope["status"] == 200


def test_a_pending_result_says_so_and_an_unknown_one_too(service: Service) -> None:
    channel = channel_name()
    accepted = service.accepted("GET", "/api/v1/demo/sleep?seconds=2", channel)
    task_id = accepted.json()["meta"]["async_request_id"]
    pending = service.client.get(RESULT.format(task_id), params={"channel": channel})
    assert pending.status_code == 202
    assert pending.json() == {"task_id": task_id, "status": "not ready"}
    assert int(pending.headers["retry-after"]) >= 1
    unknown = service.client.get(RESULT.format(uuid.uuid4()), params={"channel": channel})
    assert unknown.status_code == 404


def test_an_endpoint_for_asynchronous_requests_alone_says_so(service: Service) -> None:
    files = {"file": ("a.csv", "a,b\n1,2\n")}
    assert service.client.post("/api/v1/demo/report", files=files).status_code == 409
    channel = channel_name()
    accepted = service.accepted("POST", "/api/v1/demo/report", channel, files=files)
    assert service.result(accepted.json()["meta"]["async_request_id"], channel)["status"] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"headers": {"X-Async-Request": "short"}}, 400),
        ({"headers": {"X-Async-Request": "x" * 129}}, 400),
        ({"headers": {"X-Async-Request": "sixteen chars ok?!"}}, 400),
        ({"headers": {"X-Async-Request": "true", "Authorization": "Bearer forged"}}, 401),
    ],
)
def test_bad_input_is_a_problem_and_never_a_traceback(
    service: Service, request_: dict[str, Any], status: int
) -> None:
    answer = service.client.post("/api/v1/demo/csv-report", **request_)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert "Traceback" not in answer.text


def test_a_body_over_the_limit_is_refused_before_it_is_sent(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.putrequest("POST", "/api/v1/demo/csv-report")
    connection.putheader("X-Async-Request", "true")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert "bytes" in json.loads(answer.read())["detail"]
    connection.close()


def test_an_id_that_is_none_is_a_problem(service: Service) -> None:
    answer = service.client.get(RESULT.format("nonsense"), params={"channel": channel_name()})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_secret_stands_in_a_log(service: Service) -> None:
    token = service.token("grace")
    headers = {"Authorization": f"Bearer {token}"}
    service.accepted("GET", "/api/v1/demo/me?secret=swordfish", headers=headers)
    with connect(f"{service.hub}?token={token}") as socket:
        hear(socket, "subscribed")
    logs = service.log() + "".join(worker.output() for worker in service.workers)
    assert token not in logs
    assert "swordfish" not in logs
    assert "Traceback" not in logs
