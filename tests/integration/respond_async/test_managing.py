"""What an owner does with requests: list, cancel, forget."""

import json
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient

from respond_async import Settings
from tests.support.shop.client import ANONYMOUS, CHANNEL, Shop, listening
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker
from tests.support.waiting import wait_until

PATH = "/api/v1/async_background_response"
OWNER = f"anon.{CHANNEL}"


@pytest.fixture
def own_env(env: dict[str, str]) -> dict[str, str]:
    """With a queue of the test's own, and all the time that it takes."""
    own = f"managed-{secrets.token_hex(4)}"
    return {**env, "KAFKA_TOPIC": own, "REPLAY_TIMEOUT_SECONDS": "60"}


@pytest.fixture
def shop(
    settings: Settings, redis_url: str, own_env: dict[str, str], store: "redis.Redis"
) -> Iterator[Shop]:
    for key in store.scan_iter("respond_async:owned:*"):
        store.delete(key)
    changed = settings.model_copy(update={"kafka_topic": own_env["KAFKA_TOPIC"]})
    with (
        Celery(broker=redis_url, backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(changed, celery), raise_server_exceptions=False) as client,
    ):
        yield Shop(client)


def listed(shop: Shop, query: str = "", **headers: str) -> Any:
    answer = shop.client.get(f"{PATH}/{query}", headers=headers or ANONYMOUS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_request_that_waits_is_cancelled_and_never_starts(
    shop: Shop, own_env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    task_id = shop.accepted("POST", "/digest?mark", content=bytes(200_000))
    assert store.exists(f"respond_async:body:{task_id}")
    wait_until(lambda: listed(shop)["data"], within=5, what="the list")
    with listening(store, OWNER) as heard:
        answer = shop.client.delete(f"{PATH}/{task_id}/", headers=ANONYMOUS)
        assert answer.json() == {"task_id": task_id, "status": "cancelled", "was": "pending"}
        result = shop.asked(task_id).json()
        assert (result["status"], result["endpoint"]) == (499, "/digest?mark")
        assert result["response"]["detail"] == "The request was cancelled by its owner."
        assert not store.exists(f"respond_async:body:{task_id}")
        with ShopWorker(tmp_path, own_env) as worker:
            later = shop.accepted("GET", "/sleep?seconds=0&name=later")
            shop.result(later)
            wait_until(lambda: later in heard(), within=5, what="the later one's notification")
            assert heard() == [task_id, later]
            assert worker.marked("begin-later")
    assert shop.asked(task_id).json() == result


@pytest.mark.parametrize("pool", ["respond_async.pool:AsyncioPool"])
def test_a_request_that_runs_is_cancelled_on_the_asyncio_pool(
    shop: Shop, own_env: dict[str, str], tmp_path: Path, store: "redis.Redis", pool: str
) -> None:
    with ShopWorker(tmp_path, own_env, pool=pool) as worker, listening(store, OWNER) as heard:
        task_id = shop.accepted("GET", "/sleep?seconds=60&name=long")
        wait_until(lambda: worker.marked("begin-long"), within=10, what="its beginning")
        assert listed(shop, "?status=running")["data"][0]["task_id"] == task_id
        answer = shop.client.delete(f"{PATH}/{task_id}", headers=ANONYMOUS)
        assert answer.json()["was"] == "running"
        wait_until(lambda: worker.marked("cancelled-long"), within=10, what="its cancelling")
        assert shop.asked(task_id).json()["status"] == 499
        # Celery's own end of it comes later, and says nothing again.
        shop.finished("GET", "/maybe")
        assert heard().count(task_id) == 1
        assert shop.asked(task_id).json()["status"] == 499


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_request_that_was_cancelled_while_it_ran_never_runs_again(
    shop: Shop, own_env: dict[str, str], tmp_path: Path, store: "redis.Redis", pool: str
) -> None:
    """Neither by the worker that was told, nor by one that knows of nothing and gets it anew."""
    task_id = shop.accepted("GET", "/sleep?seconds=60&name=long")
    (message,) = store.lrange(own_env["KAFKA_TOPIC"], 0, -1)
    again = json.loads(message)
    again["properties"]["delivery_tag"] = "another-delivery"
    with listening(store, OWNER) as heard:
        with ShopWorker(tmp_path, own_env, pool=pool, concurrency=2) as first:
            wait_until(lambda: first.marked("begin-long"), within=10, what="its beginning")
            answer = shop.client.delete(f"{PATH}/{task_id}", headers=ANONYMOUS)
            assert answer.json()["was"] == "running"
            if pool == "prefork":
                process = psutil.Process(first.marked("begin-long")[0])
                wait_until(lambda: _is_gone(process), within=10, what="the end of its process")
            store.lpush(own_env["KAFKA_TOPIC"], json.dumps(again))
            wait_until(
                lambda: not store.llen(own_env["KAFKA_TOPIC"]), within=10, what="its delivery"
            )
            shop.finished("GET", "/maybe")
            # In a thread it would go on for a minute.
            first.stop(signal.SIGKILL if pool == "threads" else signal.SIGTERM)
        store.lpush(own_env["KAFKA_TOPIC"], json.dumps(again))
        with ShopWorker(tmp_path, own_env, pool=pool, name="second") as second:
            wait_until(
                lambda: f"{task_id}] succeeded" in second.output(), within=10, what="its delivery"
            )
        assert len(first.marked("begin-long")) == 1
        assert shop.asked(task_id).json()["status"] == 499
        assert heard().count(task_id) == 1


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.usefixtures("worker")
def test_a_result_is_forgotten(client: TestClient, store: "redis.Redis") -> None:
    shop = Shop(client)
    for path in ("/answers/json", "/answers/large"):
        task_id = shop.accepted("GET", path)
        shop.result(task_id)
        wait_until(
            lambda key=f"respond_async:notified:{task_id}": store.exists(key),  # type: ignore[misc]
            within=5,
            what="its end",
        )
        assert shop.client.delete(f"{PATH}/{task_id}/", headers=ANONYMOUS).status_code == 204
        assert shop.asked(task_id).status_code == 410
        assert shop.client.delete(f"{PATH}/{task_id}/", headers=ANONYMOUS).status_code == 410
        left = {key.decode() for key in store.scan_iter(f"*{task_id}*")}
        assert left == {f"respond_async:notified:{task_id}"}
        assert task_id not in [one["task_id"] for one in listed(shop)["data"]]


@pytest.mark.usefixtures("worker")
def test_another_ones_request_is_neither_cancelled_nor_forgotten(
    client: TestClient, token: str
) -> None:
    shop = Shop(client)
    task_id = shop.accepted("GET", "/answers/json")
    shop.result(task_id)
    for headers, status in (
        ({"X-Async-Request": "another-channel-altogether"}, 403),
        ({"Authorization": f"Bearer {token}"}, 403),
        ({}, 401),
    ):
        assert shop.client.delete(f"{PATH}/{task_id}/", headers=headers).status_code == status
    assert shop.asked(task_id).status_code == 200
    assert shop.client.delete(f"{PATH}/{'A' * 64}/", headers=ANONYMOUS).status_code == 404


def test_ones_own_requests_are_listed_newest_first_page_by_page(shop: Shop, token: str) -> None:
    me = {"X-Async-Request": "whoever-asks-for-this-list"}
    ids = [shop.accepted("POST", f"/digest?n={n}", headers=me) for n in range(7)]
    mine = shop.accepted("GET", "/me", headers={"Authorization": f"Bearer {token}"})
    wait_until(lambda: len(listed(shop, **me)["data"]) == 7, within=5, what="the list")
    first = listed(shop, "?limit=3", **me)
    assert [row["task_id"] for row in first["data"]] == ids[:-4:-1]
    row = first["data"][0]
    assert (row["method"], row["endpoint"], row["status"]) == ("POST", "/digest?n=6", "pending")
    assert shop.client.get(row["location"], headers=me).status_code == 202
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = listed(shop, f"?limit=3{cursor}", **me)
        seen += [row["task_id"] for row in page["data"]]
        cursor = page["meta"]["next"] and f"&cursor={page['meta']['next']}"
    assert seen == ids[::-1]
    own = listed(shop, Authorization=f"Bearer {token}")
    assert [row["task_id"] for row in own["data"]] == [mine]
    for query in ("?status=running", "?status=completed"):
        assert listed(shop, query, **me)["data"] == []


def test_a_list_keeps_the_newest_and_ends_with_its_time(
    settings: Settings, celery: Celery, store: "redis.Redis"
) -> None:
    changed = settings.model_copy(
        update={"list_max_requests": 3, "result_ttl_seconds": 2, "kafka_topic": "nobody-reads"}
    )
    for key in store.scan_iter("respond_async:owned:*"):
        store.delete(key)
    with TestClient(create_app(changed, celery)) as client:
        shop = Shop(client)
        ids = [shop.accepted("GET", "/maybe") for _ in range(6)]

        def newest() -> bool:
            return [row["task_id"] for row in listed(shop)["data"]] == ids[:-4:-1]

        wait_until(newest, within=5, what="the three newest")
        wait_until(lambda: not listed(shop)["data"], within=6, what="their end")
        wait_until(
            lambda: not list(store.scan_iter("respond_async:owned:*")), within=6, what="the keys'"
        )


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?limit=101", "?limit=x", "?limit=", "?status=ended", "?cursor=x", "?cursor=%ff",
     "?cursor=MTIz", "?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkuYQ"],
)  # fmt: skip
def test_a_question_for_the_list_that_is_none_is_a_problem(shop: Shop, query: str) -> None:
    answer = shop.client.get(f"{PATH}/{query}", headers=ANONYMOUS)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_the_app_lost_is_listed_once_the_worker_begins_it(
    shop: Shop, own_env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    task_id = shop.accepted("GET", "/sleep?seconds=30&name=lost")
    wait_until(lambda: listed(shop)["data"], within=5, what="the list")
    for key in store.scan_iter("respond_async:owned:*"):
        store.delete(key)
    assert not listed(shop)["data"]
    with ShopWorker(tmp_path, own_env, pool="respond_async.pool:AsyncioPool") as worker:
        wait_until(lambda: worker.marked("begin-lost"), within=10, what="its beginning")
        wait_until(lambda: listed(shop)["data"], within=5, what="the list")
        (row,) = listed(shop)["data"]
        assert (row["task_id"], row["status"]) == (task_id, "running")
        shop.client.delete(row["location"], headers=ANONYMOUS)


def test_accepting_asks_redis_nothing(
    settings: Settings, tmp_path: Path, store: "redis.Redis"
) -> None:
    """In the default configuration: the broker here is another server."""
    from tests.support.redis_server import RedisServer

    with (
        RedisServer(tmp_path) as broker,
        Celery(broker=broker.url, set_as_current=False) as celery,
        TestClient(
            create_app(settings.model_copy(update={"list_max_requests": 0}), celery)
        ) as client,
    ):
        Shop(client).accepted("GET", "/maybe")
        before = store.info("stats")["total_commands_processed"]
        begun = time.monotonic()
        for _ in range(20):
            Shop(client).accepted("GET", "/maybe")
        after = store.info("stats")["total_commands_processed"]
        # One is the question itself; monitors of others' tests are slower than this.
        assert after - before <= 2, time.monotonic() - begun
