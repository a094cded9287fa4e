"""Who may fetch a result, and what everybody else is told."""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient
from pydantic import SecretStr

from respond_async import Settings
from respond_async.task_ids import TaskIds
from tests.support.ports import free_port
from tests.support.shop.client import ANONYMOUS, CHANNEL, Shop
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker
from tests.support.waiting import wait_until
from ws_hub import TokenVerifier, revoke

PATH = "/api/v1/async_background_response"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_problem(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_before_the_end_the_answer_is_202(client: TestClient) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    answer = Shop(client).asked(task_id)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.json() == {"task_id": task_id, "status": "not ready"}
    assert answer.headers["cache-control"] == "no-store"


def test_an_id_that_was_never_given_is_unknown(client: TestClient, settings: Settings) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    changed = task_id[:-1] + ("A" if task_id[-1] != "A" else "B")
    other_key = settings.model_copy(
        update={"secret_key": [SecretStr("another secret of 32 bytes or more")]}
    )
    forged = TaskIds(other_key).make(f"anon.{CHANNEL}", datetime.now(UTC))
    for unknown in ("nonsense", str(uuid.uuid4()), changed, task_id + "A", task_id[:-4], forged):
        assert_problem(client.get(f"{PATH}/{unknown}/", headers=ANONYMOUS), 404)


def test_ids_made_with_a_key_that_was_replaced_are_read(
    client: TestClient, settings: Settings, celery: Celery
) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    keys = [SecretStr("a new secret of 32 bytes or more......"), *settings.secret_key]
    with TestClient(create_app(settings.model_copy(update={"secret_key": keys}), celery)) as new:
        assert Shop(new).asked(task_id).status_code == 202


def test_the_owner_alone_may_ask(client: TestClient, settings: Settings, token: str) -> None:
    users = Shop(client).accepted("GET", "/maybe", headers=bearer(token))
    anonymous = Shop(client).accepted("GET", "/maybe")
    bob = bearer(TokenVerifier(settings).issue("bob", 60))
    other = {"X-Async-Request": "another-channel-altogether"}
    for task_id, headers, status in (
        (users, bearer(token), 202),
        (users, bearer(token) | ANONYMOUS, 202),
        (users, bob, 403),
        (users, ANONYMOUS, 403),
        (users, {}, 401),
        (anonymous, ANONYMOUS, 202),
        (anonymous, other, 403),
        (anonymous, bearer(token), 403),
        (anonymous, {"X-Async-Request": "true"}, 401),
        (anonymous, {}, 401),
        (anonymous, bearer("forged"), 401),
    ):
        assert Shop(client).asked(task_id, headers).status_code == status, (task_id, headers)


def test_a_user_named_like_a_channel_is_not_its_owner(
    client: TestClient, settings: Settings
) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    namesake = bearer(TokenVerifier(settings).issue(CHANNEL, 60))
    assert_problem(Shop(client).asked(task_id, namesake), 403)


def test_the_channel_may_stand_in_the_query_and_the_slash_be_left_out(client: TestClient) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    for slash in ("/", ""):
        url = f"{PATH}/{task_id}{slash}?channel={CHANNEL}"
        assert client.get(url, follow_redirects=False).status_code == 202
    assert client.get(f"{PATH}/{task_id}/?channel=another-channel-00").status_code == 403


@pytest.mark.usefixtures("worker")
def test_a_token_is_judged_by_when_the_request_was_accepted(
    client: TestClient, settings: Settings, worker: ShopWorker
) -> None:
    """The token ends between 202 and replay: the endpoint still knows the user."""
    worker.stop()
    try:
        token = TokenVerifier(settings).issue("alice", 2)
        task_id = Shop(client).accepted("GET", "/me", headers=bearer(token))
        wait_until(
            lambda: client.get("/me", headers=bearer(token)).status_code == 401,
            within=10,
            what="the end of the token",
        )
    finally:
        worker.start()
    fresh = bearer(TokenVerifier(settings).issue("alice", 60))
    result = Shop(client).result(task_id, fresh)
    assert result["response"] == {"sub": "alice", "replayed": True}


@pytest.mark.usefixtures("worker")
def test_an_anonymous_caller_stays_anonymous_in_the_replay(client: TestClient) -> None:
    result = Shop(client).finished("GET", "/me")
    assert result["response"] == {"sub": None, "replayed": True}
    assert Shop(client).finished("GET", "/only-async")["response"] == "done"


@pytest.mark.usefixtures("worker")
def test_a_result_can_be_asked_for_again(client: TestClient) -> None:
    task_id = Shop(client).accepted("GET", "/answers/json")
    first = Shop(client).result(task_id)
    assert [Shop(client).asked(task_id).json() for _ in range(3)] == [first] * 3


@pytest.mark.usefixtures("worker")
def test_a_result_that_is_no_longer_kept_is_gone(client: TestClient, store: "redis.Redis") -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    Shop(client).result(task_id)
    wait_until(
        lambda: store.exists(f"respond_async:notified:{task_id}"), within=5, what="the notification"
    )
    store.delete(f"celery-task-meta-{task_id}")
    assert_problem(Shop(client).asked(task_id), 410)


@pytest.mark.usefixtures("worker")
def test_what_is_kept_ends_after_its_time(
    settings: Settings, celery: Celery, store: "redis.Redis"
) -> None:
    changed = settings.model_copy(update={"result_ttl_seconds": 1, "kafka_topic": "nobody-reads"})
    with TestClient(create_app(changed, celery)) as client:
        task_id = Shop(client).accepted("POST", "/digest", content=bytes(200_000))
        assert store.exists(f"respond_async:body:{task_id}")
        begun = time.monotonic()
        wait_until(lambda: Shop(client).asked(task_id).status_code == 410, within=5, what="its end")
        assert time.monotonic() - begun < 3
        wait_until(
            lambda: not store.exists(f"respond_async:body:{task_id}"), within=2, what="the body's"
        )


@pytest.mark.usefixtures("worker")
def test_an_answer_moved_to_another_task_is_not_read(
    client: TestClient, store: "redis.Redis"
) -> None:
    mine, other = (Shop(client).accepted("GET", "/maybe") for _ in range(2))
    for task_id in (mine, other):
        Shop(client).result(task_id)
    stored = store.get(f"celery-task-meta-{other}")
    assert isinstance(stored, bytes)
    store.set(f"celery-task-meta-{mine}", stored.replace(other.encode(), mine.encode()))
    assert_problem(Shop(client).asked(mine), 500)


def test_a_revoked_token_is_refused_everywhere(
    client: TestClient, settings: Settings, store: "redis.Redis"
) -> None:
    verifier = TokenVerifier(settings)
    lost = bearer(verifier.issue("carol", 60))
    others = bearer(verifier.issue("dave", 60))
    task_id = Shop(client).accepted("GET", "/maybe", headers=lost)
    of_dave = Shop(client).accepted("GET", "/maybe", headers=others)
    revoke(store, user="carol", seconds=60)
    asked = [
        ("GET", f"{PATH}/"),
        ("GET", f"{PATH}/{task_id}/"),
        ("GET", f"{PATH}/{task_id}/raw"),
        ("DELETE", f"{PATH}/{task_id}/"),
        ("GET", "/me"),
    ]
    for method, path in asked:
        answer = client.request(method, path, headers=lost)
        assert_problem(answer, 401)
        assert "revoked" in answer.json()["detail"], (method, path)
    again = client.get("/maybe", headers=lost | {"X-Async-Request": "true"})
    assert_problem(again, 401)
    assert Shop(client).asked(of_dave, others).status_code in (200, 202)


def test_a_token_that_may_be_revoked_waits_for_redis_but_on_a_direct_request(
    settings: Settings, celery: Celery
) -> None:
    nowhere = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    headers = bearer(TokenVerifier(settings).issue("carol", 60))
    with TestClient(create_app(nowhere, celery)) as client:
        assert_problem(client.get(f"{PATH}/", headers=headers), 503)
        assert client.get("/me", headers=headers).json()["sub"] == "carol"
