"""What a client is told when it sends a request, and what stays behind."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis
from celery import Celery
from fastapi import FastAPI
from fastapi.testclient import TestClient

from respond_async import AsyncRequests, ConfigurationError, Settings
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.shop.client import ANONYMOUS, CHANNEL, Shop
from tests.support.shop.main import create_app


def shop(settings: Settings, celery: Celery, **changes: Any) -> TestClient:
    changed = settings.model_copy(update=changes)
    return TestClient(create_app(changed, celery), raise_server_exceptions=False)


def kept(store: "redis.Redis") -> set[str]:
    return {key.decode() for key in store.scan_iter("respond_async:*")}


def assert_problem(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert words in problem["detail"]
    assert "Traceback" not in answer.text


def test_the_202_says_where_and_when_to_ask(client: TestClient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "X-Async-Request": "TRUE"}
    answer = client.get("/me", headers=headers)
    task_id = answer.json()["meta"]["async_request_id"]
    assert answer.status_code == 202
    assert answer.json() == {"data": None, "meta": {"async_request_id": task_id}}
    assert answer.headers["location"] == f"/api/v1/async_background_response/{task_id}/"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["cache-control"] == "no-store"


def test_tokens_of_the_apps_own_are_its_business_if_they_are_ignored(
    settings: Settings, celery: Celery
) -> None:
    opaque = {"Authorization": "Bearer key-of-the-shop's-own"}
    asked = {**opaque, "X-Async-Request": "true"}
    with shop(settings, celery) as client:
        assert_problem(client.get("/maybe", headers=asked), 401, "token")
    with shop(settings, celery, bearer_tokens="ignored") as client:
        accepted = client.get("/maybe", headers=asked)
        assert accepted.status_code == 202
        channel = accepted.json()["meta"]["channel"]
        where = accepted.headers["location"]
        assert client.get(where, headers=opaque).status_code == 401
        named = {**opaque, "X-Async-Request": channel}
        assert client.get(where, headers=named).status_code == 202


def test_the_location_is_right_behind_a_proxy_that_strips_a_prefix(
    settings: Settings, celery: Celery
) -> None:
    app = create_app(settings, celery)
    with TestClient(app, root_path="/shop") as client:
        location = client.get("/me", headers=ANONYMOUS).headers["location"]
        assert location.startswith("/shop/api/v1/async_background_response/")
        assert client.get(location.removeprefix("/shop"), headers=ANONYMOUS).status_code == 202


def test_an_anonymous_caller_gets_a_channel_of_its_own(client: TestClient) -> None:
    channels = set()
    for _ in range(2):
        meta = client.get("/maybe", headers={"X-Async-Request": "true"}).json()["meta"]
        own = {"X-Async-Request": meta["channel"]}
        channels.add(meta["channel"])
        assert len(meta["channel"]) >= 32
        assert Shop(client).asked(meta["async_request_id"], own).status_code == 202
        assert Shop(client).asked(meta["async_request_id"], ANONYMOUS).status_code == 403
    assert len(channels) == 2


@pytest.mark.parametrize("value", ["false", "False", None])
def test_without_the_header_the_endpoint_answers_at_once(
    client: TestClient, value: str | None
) -> None:
    headers = {"X-Async-Request": value} if value else {}
    assert client.get("/maybe", headers=headers).json() == {"known": False}


@pytest.mark.parametrize(
    "value", ["", "yes", "short", "x" * 129, "with space in channel", "true, false", "café" * 5]
)
def test_a_header_that_is_no_channel_is_refused(client: TestClient, value: str) -> None:
    headers = {"X-Async-Request": value.encode("latin-1")}
    assert_problem(client.get("/maybe", headers=headers), 400, "16 to 128 characters")


def test_two_headers_that_differ_are_refused(client: TestClient) -> None:
    headers = [("X-Async-Request", CHANNEL), ("X-Async-Request", "another-legal-channel")]
    assert_problem(client.get("/maybe", headers=headers), 400, "16 to 128 characters")


@pytest.mark.parametrize("value", ["true", CHANNEL, "false"])
def test_an_expired_or_forged_token_is_refused(
    client: TestClient, settings: Settings, value: str
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=5)
    key = settings.secret_key[0].get_secret_value()
    for token, words in (
        (jwt.encode({"sub": "alice", "exp": past}, key, "HS256"), "expired"),
        (jwt.encode({"sub": "alice"}, "another-key-" * 4, "HS256"), "signature"),
        ("nonsense", "not a JWT"),
    ):
        headers = {"Authorization": f"Bearer {token}", "X-Async-Request": value}
        answer = client.get("/me", headers=headers)
        assert_problem(answer, 401, words)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert token not in answer.text


def test_anonymous_access_can_be_switched_off(
    settings: Settings, celery: Celery, token: str
) -> None:
    with shop(settings, celery, allow_anonymous=False) as client:
        for value in ("true", CHANNEL):
            answer = client.get("/maybe", headers={"X-Async-Request": value})
            assert answer.status_code == 401
        headers = {"Authorization": f"Bearer {token}", "X-Async-Request": "true"}
        assert client.get("/maybe", headers=headers).status_code == 202


def test_an_endpoint_can_insist_on_the_header(client: TestClient) -> None:
    assert_problem(client.get("/only-async"), 409, "X-Async-Request")
    assert client.get("/only-async", headers=ANONYMOUS).status_code == 202


def test_the_result_endpoint_is_never_captured(client: TestClient) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    answer = Shop(client).asked(task_id)
    assert answer.json() == {"task_id": task_id, "status": "not ready"}


def test_a_body_over_the_limit_is_refused(client: TestClient, store: "redis.Redis") -> None:
    before = kept(store)
    size = 5_000_001
    assert_problem(client.post("/digest", content=bytes(size), headers=ANONYMOUS), 413, "5000000")
    parts = (bytes(100_000) for _ in range(51))
    assert_problem(client.post("/digest", content=parts, headers=ANONYMOUS), 413, "5000000")
    files = {"file": ("zeros", bytes(size))}
    assert_problem(client.post("/upload", files=files, headers=ANONYMOUS), 413, "5000000")
    assert kept(store) == before
    assert client.post("/digest", content=bytes(size)).status_code == 200


def test_queue_and_redis_hold_nothing_readable(
    client: TestClient, store: "redis.Redis", token: str
) -> None:
    headers = {
        "Authorization": f"Bearer {token}",
        "Cookie": "session=cookie-in-clear",
        "X-Async-Request": "true",
    }
    small = client.post("/digest?q=query-in-clear", content=b"body-in-clear", headers=headers)
    large = client.post("/digest", content=b"body-in-clear" * 10_000, headers=headers)
    anonymous = client.post("/digest", headers={"X-Async-Request": "channel-in-clear-00"})
    assert {small.status_code, large.status_code, anonymous.status_code} == {202}
    seen = b""
    for key in store.scan_iter("*"):
        kind = store.type(key)
        if kind == b"string":
            seen += key + (store.get(key) or b"")
        elif kind == b"hash":
            seen += key + str(store.hgetall(key)).encode()
        elif kind == b"list":
            seen += key + str(store.lrange(key, 0, -1)).encode()
    assert b"aes256gcm." in seen
    for secret in (b"in-clear", token.encode(), b"alice"):
        assert secret not in seen


def test_without_a_secret_key_credentials_are_refused(
    settings: Settings, celery: Celery, store: "redis.Redis"
) -> None:
    with shop(settings, celery, secret_key=[]) as client:
        before = kept(store)
        for header in ("Authorization", "Cookie"):
            answer = client.get("/maybe", headers={**ANONYMOUS, header: "Basic YTpi"})
            assert_problem(answer, 503, "SECRET_KEY")
        assert kept(store) == before
        assert client.get("/maybe", headers=ANONYMOUS).status_code == 202


class TestWithoutABroker:
    @pytest.fixture
    def client(self, settings: Settings, redis_url: str) -> Iterator[TestClient]:
        broker = f"redis://127.0.0.1:{free_port()}/0"
        with (
            Celery(broker=broker, backend=redis_url, set_as_current=False) as celery,
            shop(settings, celery) as client,
        ):
            yield client

    @pytest.mark.parametrize("size", [10, 300_000])
    def test_the_client_is_told_soon_and_nothing_stays(
        self, client: TestClient, store: "redis.Redis", size: int
    ) -> None:
        before = kept(store)
        begun = time.monotonic()
        answer = client.post("/digest", content=bytes(size), headers=ANONYMOUS)
        # Sooner than the deadline: no thread is left trying to connect.
        assert time.monotonic() - begun < 2
        assert_problem(answer, 503, "queue does not answer")
        assert answer.headers["retry-after"] == "1"
        left = kept(store) - before
        # The tombstone: if the broker has the request after all, no worker runs it.
        assert {key.split(":")[1] for key in left} == {"withdrawn"}

    def test_the_app_goes_on_answering_others(self, client: TestClient) -> None:
        for _ in range(3):
            client.get("/maybe", headers=ANONYMOUS)
        assert client.get("/maybe").json() == {"known": False}


def test_a_broker_that_comes_back_is_used(
    settings: Settings, redis_url: str, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path) as own,
        Celery(broker=own.url, backend=redis_url, set_as_current=False) as celery,
        shop(settings, celery) as client,
    ):
        for _ in range(2):
            assert client.get("/maybe", headers=ANONYMOUS).status_code == 202
            own.stop()
            for _ in range(20):
                assert client.get("/maybe", headers=ANONYMOUS).status_code == 503
            own.start()
        assert client.get("/maybe", headers=ANONYMOUS).status_code == 202


def test_a_broker_that_never_answers_does_not_hold_the_client(
    settings: Settings, redis_url: str
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with Celery(broker=broker, backend=redis_url, set_as_current=False) as celery:
            celery.conf.broker_transport_options = {"socket_timeout": 6}
            with shop(settings, celery) as client:
                begun = time.monotonic()
                answer = client.get("/maybe", headers=ANONYMOUS)
                assert time.monotonic() - begun < 4
                assert_problem(answer, 503, "queue does not answer")


def test_without_redis_what_needs_it_is_refused_soon(
    settings: Settings, redis_url: str, tmp_path: Path
) -> None:
    with (
        RedisServer(tmp_path) as own,
        Celery(broker=redis_url, backend=own.url, set_as_current=False) as celery,
        shop(settings, celery, redis_url=own.url) as client,
    ):
        task_id = Shop(client).accepted("GET", "/maybe")
        own.stop()
        begun = time.monotonic()
        # A small one needs no Redis: it waits in the queue until the workers have theirs again.
        assert client.get("/maybe", headers=ANONYMOUS).status_code == 202
        large = client.post("/digest", content=bytes(300_000), headers=ANONYMOUS)
        assert_problem(large, 503, "storage does not answer")
        assert_problem(Shop(client).asked(task_id), 503, "storage of results")
        assert time.monotonic() - begun < 8
        own.start()
        assert client.post("/digest", content=bytes(300_000), headers=ANONYMOUS).status_code == 202


def test_what_waits_needs_nothing_in_redis(client: TestClient, store: "redis.Redis") -> None:
    before = kept(store)
    task_id = Shop(client).accepted("GET", "/maybe")
    assert kept(store) == before
    assert Shop(client).asked(task_id).status_code == 202


def test_a_websocket_of_the_app_is_left_alone(client: TestClient) -> None:
    with client.websocket_connect("/socket", headers=ANONYMOUS) as socket:
        assert socket.receive_text() == "hello"


def test_two_of_them_on_one_app_are_refused(settings: Settings, celery: Celery) -> None:
    app = FastAPI()
    AsyncRequests(app, celery=celery, settings=settings)
    with pytest.raises(ConfigurationError, match="already"):
        AsyncRequests(app, celery=celery, settings=settings)
