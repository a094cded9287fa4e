"""One key, one request."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient
from pydantic import SecretStr

from respond_async import Settings
from respond_async.celery_face import CeleryFace
from respond_async.idempotency import IdempotencyKeys
from respond_async.sealing import Sealer
from tests.support.ports import free_port
from tests.support.shop.client import CHANNEL
from tests.support.shop.main import create_app

KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'


@pytest.fixture
def store(store: "redis.Redis") -> "redis.Redis":
    for kind in ("idempotency", "body"):
        for key in store.scan_iter(f"respond_async:{kind}:*"):
            store.delete(key)
    return store


@pytest.fixture
def waiting(settings: Settings, celery: Celery, store: "redis.Redis") -> Iterator[TestClient]:
    """A shop whose queue nobody reads."""
    changed = settings.model_copy(update={"kafka_topic": "idempotent"})
    store.delete("idempotent")
    with TestClient(create_app(changed, celery), raise_server_exceptions=False) as client:
        yield client


def sent(
    client: TestClient,
    key: str = KEY,
    path: str = "/digest",
    body: bytes = b"x",
    channel: str = CHANNEL,
    **headers: str,
) -> Any:
    given = {"X-Async-Request": channel, "Idempotency-Key": key, **headers}
    return client.post(path, content=body, headers=given)


def queued(store: "redis.Redis") -> int:
    return store.llen("idempotent")


@pytest.mark.parametrize("size", [1, 300_000])
def test_the_same_request_has_the_same_id_and_is_queued_once(
    waiting: TestClient, store: "redis.Redis", size: int
) -> None:
    body = bytes(size)
    answers = [sent(waiting, body=body) for _ in range(3)]
    # Without quotes it is the same key.
    answers.append(sent(waiting, KEY.strip('"'), body=body))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert queued(store) == 1
    task_id = answers[0].json()["meta"]["async_request_id"]
    bodies = [key.decode() for key in store.scan_iter("respond_async:body:*")]
    assert bodies == ([f"respond_async:body:{task_id}"] if size > 1 else [])
    for key in bodies:
        store.delete(key)


def test_another_request_with_the_key_is_refused(waiting: TestClient, store: "redis.Redis") -> None:
    assert sent(waiting).status_code == 202
    for more in (
        {"body": b"y"},
        {"path": "/digest?q"},
        {"path": "/orders"},
        {"body": bytes(300_000)},
    ):
        answer = sent(waiting, **more)
        assert (answer.status_code, answer.headers["content-type"]) == (
            422, "application/problem+json",
        )  # fmt: skip
    assert queued(store) == 1
    assert not list(store.scan_iter("respond_async:body:*"))


def test_another_ones_key_is_another_key(waiting: TestClient, token: str) -> None:
    mine, bobs = sent(waiting), sent(waiting, channel="another-channel-of-mine")
    users = sent(waiting, body=b"y", Authorization=f"Bearer {token}")
    assert len({a.json()["meta"]["async_request_id"] for a in (mine, bobs, users)}) == 3


def test_of_many_at_once_one_is_accepted(waiting: TestClient, store: "redis.Redis") -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: sent(waiting), range(24)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {202, 409}
    ids = {a.headers["location"] for a in answers if a.status_code == 202}
    assert len(ids) == 1
    assert queued(store) == 1
    assert all("retry-after" in a.headers for a in answers if a.status_code == 409)


def test_while_the_first_is_being_accepted_the_second_is_told_to_come_again(
    waiting: TestClient, store: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = CeleryFace.publish
    seen: list[Any] = []

    async def slow(self: Any, *args: Any, **kwargs: Any) -> None:
        if not seen:
            seen.append("first")
            with ThreadPoolExecutor(1) as threads:
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(threads, lambda: sent(waiting))
            seen.append(answer.status_code)
        await publish(self, *args, **kwargs)

    monkeypatch.setattr(CeleryFace, "publish", slow)
    assert sent(waiting).status_code == 202
    assert seen == ["first", 409]
    assert queued(store) == 1


def test_a_request_that_the_queue_did_not_take_leaves_its_key_free(
    settings: Settings, redis_url: str, store: "redis.Redis", waiting: TestClient
) -> None:
    broker = f"redis://127.0.0.1:{free_port()}/0"
    with (
        Celery(broker=broker, backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(settings, celery), raise_server_exceptions=False) as client,
    ):
        for body in (b"x", b"y"):
            assert sent(client, body=body).status_code == 503
    assert sent(waiting, body=b"z").status_code == 202


@pytest.mark.parametrize("size", [1, 300_000])
def test_what_a_killed_server_left_is_accepted_under_the_same_id(
    waiting: TestClient,
    settings: Settings,
    store: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """It died after it had queued the request, and before it could say so."""

    sealer = Sealer(settings, "idempotency")

    async def died(*_: Any) -> None:
        return

    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyKeys, "keep", died)
        first = sent(waiting, body=bytes(size))
    assert sent(waiting, body=bytes(size)).status_code == 409
    # The time that an acceptance may take is over.
    (name,) = store.scan_iter("respond_async:idempotency:*")
    value = store.get(name)
    assert isinstance(value, bytes)
    record = json.loads(sealer.open(value.decode()))
    record["begun_at"] = "2020-01-01T00:00:00Z"
    store.set(name, sealer.seal(json.dumps(record).encode()))
    again = sent(waiting, body=bytes(size))
    assert again.headers["location"] == first.headers["location"]
    assert queued(store) == 2
    assert sent(waiting, body=bytes(size)).headers["location"] == first.headers["location"]
    assert queued(store) == 2
    task_id = first.json()["meta"]["async_request_id"]
    bodies = [key.decode() for key in store.scan_iter("respond_async:body:*")]
    assert bodies == ([f"respond_async:body:{task_id}"] if size > 1 else [])
    for key in bodies:
        store.delete(key)


def test_a_key_needs_an_owner(waiting: TestClient) -> None:
    for headers in ({"X-Async-Request": "true"}, {"Prefer": "respond-async"}):
        answer = waiting.get("/maybe", headers={**headers, "Idempotency-Key": KEY})
        assert answer.status_code == 400
        assert "owner" in answer.json()["detail"]


def test_without_async_the_key_is_the_endpoints_own(waiting: TestClient) -> None:
    for _ in range(2):
        answer = waiting.post("/digest", content=b"x", headers={"Idempotency-Key": "not, valid"})
        assert answer.status_code == 200


def test_nothing_readable_is_kept_of_a_key(waiting: TestClient, store: "redis.Redis") -> None:
    sent(waiting, '"key-in-clear"', body=b"body-in-clear")
    (name,) = store.scan_iter("respond_async:idempotency:*")
    value = store.get(name)
    assert isinstance(value, bytes)
    assert b"in-clear" not in name + value
    assert 0 < store.ttl(name) <= 86_400


def test_a_key_survives_a_rotation_of_the_secret(
    waiting: TestClient, settings: Settings, celery: Celery, store: "redis.Redis"
) -> None:
    first = sent(waiting)
    keys = [SecretStr("a-newer-secret-than-that-of-the-session"), *settings.secret_key]
    changed = settings.model_copy(update={"secret_key": keys, "kafka_topic": "idempotent"})
    with TestClient(create_app(changed, celery)) as client:
        assert sent(client).headers["location"] == first.headers["location"]
