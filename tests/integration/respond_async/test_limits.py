"""Limits of users and of all, and what happens while too much waits."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient

from respond_async import Settings
from tests.support.ports import free_port
from tests.support.shop.client import ANONYMOUS, Shop
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker
from tests.support.waiting import wait_until

OTHER = {"X-Async-Request": "another-channel-altogether"}
QUEUE = "limited"


@pytest.fixture(autouse=True)
def empty(store: "redis.Redis") -> None:
    for pattern in ("respond_async:in_flight:*", "respond_async:rate:*", f"{QUEUE}*"):
        for key in store.scan_iter(pattern):
            store.delete(key)


@contextmanager
def shop(settings: Settings, redis_url: str, **limits: Any) -> Iterator[TestClient]:
    changed = settings.model_copy(update={"kafka_topic": QUEUE, **limits})
    with (
        Celery(broker=redis_url, backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(changed, celery), raise_server_exceptions=False) as client,
    ):
        yield client


def statuses(client: TestClient, count: int, headers: dict[str, str] = ANONYMOUS) -> list[int]:
    with ThreadPoolExecutor(8) as threads:
        ask = lambda _: client.get("/maybe", headers=headers).status_code  # noqa: E731
        return sorted(threads.map(ask, range(count)))


def test_a_user_has_so_many_in_flight_and_each_end_makes_room(
    settings: Settings, redis_url: str, env: dict[str, str], tmp_path: Path
) -> None:
    limits = {"limit_in_flight_per_user": 3}
    with shop(settings, redis_url, **limits) as client:
        assert statuses(client, 8) == [202] * 3 + [429] * 5
        refused = client.get("/maybe", headers=ANONYMOUS)
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.headers["retry-after"], "3" in refused.json()["detail"]) == ("1", True)
        assert statuses(client, 1, OTHER) == [202]
        own = {**env, "KAFKA_TOPIC": QUEUE, "LIMIT_IN_FLIGHT_PER_USER": "3"}
        with ShopWorker(tmp_path, own):
            wait_until(
                lambda: client.get("/maybe", headers=ANONYMOUS).status_code == 202,
                within=15,
                what="room",
            )


def test_all_together_have_so_many_in_flight(settings: Settings, redis_url: str) -> None:
    with shop(settings, redis_url, limit_in_flight=4) as client:
        assert statuses(client, 3) == [202] * 3
        assert statuses(client, 3, OTHER) == [202, 429, 429]


def test_what_never_ended_is_in_flight_no_longer_than_it_is_kept(
    settings: Settings, redis_url: str
) -> None:
    with shop(settings, redis_url, limit_in_flight=1, result_ttl_seconds=1) as client:
        assert statuses(client, 2) == [202, 429]
        wait_until(lambda: statuses(client, 1) == [202], within=5, what="room")


def test_a_request_that_is_not_accepted_is_not_in_flight(
    settings: Settings, redis_url: str, store: "redis.Redis"
) -> None:
    changed = settings.model_copy(update={"limit_in_flight": 1})
    broker = f"redis://127.0.0.1:{free_port()}/0"
    with (
        Celery(broker=broker, backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(changed, celery), raise_server_exceptions=False) as client,
    ):
        assert [client.get("/maybe", headers=ANONYMOUS).status_code for _ in range(2)] == [503] * 2
    assert store.zcard("respond_async:in_flight:all") == 0


def test_a_user_may_send_so_many_a_minute(settings: Settings, redis_url: str) -> None:
    with shop(settings, redis_url, limit_per_minute_per_user=5) as client:
        assert statuses(client, 8) == [202] * 5 + [429] * 3
        # One in twelve seconds is given back.
        seconds = int(client.get("/maybe", headers=ANONYMOUS).headers["retry-after"])
        assert 1 <= seconds <= 12
        assert statuses(client, 1, OTHER) == [202]


def test_an_allowance_comes_back_bit_by_bit(settings: Settings, redis_url: str) -> None:
    with shop(settings, redis_url, limit_per_minute=60) as client:
        assert statuses(client, 61).count(202) >= 60
        wait_until(
            lambda: statuses(client, 1) == [202], within=5, what="the next second", every=0.3
        )


def test_a_repeated_key_is_not_counted(settings: Settings, redis_url: str) -> None:
    with shop(settings, redis_url, limit_per_minute=1) as client:
        headers = {**ANONYMOUS, "Idempotency-Key": '"limits"'}
        answers = [client.get("/maybe", headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202] * 3
        refused = {**ANONYMOUS, "Idempotency-Key": '"more"'}
        for _ in range(2):
            assert client.get("/maybe", headers=refused).status_code == 429


def test_while_too_much_waits_nothing_more_is_accepted(
    settings: Settings, redis_url: str, env: dict[str, str], tmp_path: Path
) -> None:
    limits = {"backlog_limits": {QUEUE: 5, "*": 0}, "queue_place_headers": True}
    with shop(settings, redis_url, **limits) as client:

        def status() -> int:
            return int(client.get("/maybe", headers=ANONYMOUS).status_code)

        def full() -> bool:
            return status() == 503

        wait_until(full, within=15, what="the limit", every=0.2)
        refused = client.get("/maybe", headers=ANONYMOUS)
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        # Another queue has its own policy, and what is answered at once has none.
        assert client.put("/items/7", headers=ANONYMOUS).status_code == 202
        assert client.get("/maybe").status_code == 200
        own = {**env, "KAFKA_TOPIC": QUEUE, "QUEUE_PLACE_HEADERS": "true"}
        with ShopWorker(tmp_path, own):
            wait_until(lambda: status() == 202, within=15, what="room", every=0.2)

            def rate_is_known() -> bool:
                headers = client.get("/maybe", headers=ANONYMOUS).headers
                return "x-queue-wait-estimate" in headers and headers["x-queue-depth"].isdigit()

            wait_until(rate_is_known, within=15, what="an estimate", every=0.2)


def test_a_broker_that_cannot_be_asked_refuses_nothing(settings: Settings, redis_url: str) -> None:
    with shop(
        settings, redis_url, queue_place_headers=False, backlog_limits={"*": 10**9}
    ) as client:
        answer = client.get("/maybe", headers=ANONYMOUS)
        assert answer.status_code == 202
        assert "x-queue-depth" not in answer.headers


@pytest.mark.parametrize("how", ["503", "raise"])
def test_a_chosen_failure_is_tried_again_from_the_queue(
    settings: Settings, redis_url: str, env: dict[str, str], tmp_path: Path, how: str
) -> None:
    own = {**env, "KAFKA_TOPIC": QUEUE}
    with (
        shop(settings, redis_url) as client,
        ShopWorker(tmp_path, own, pool="respond_async.pool:AsyncioPool") as worker,
    ):
        result = Shop(client).finished("GET", f"/flaky?times=2&name=t&how={how}", within=30)
        assert (result["status"], result["response"]) == (200, "in the end")
        assert len(worker.marked("flaky-t")) == 3
        # Its three retries are used up: the last answer stands.
        result = Shop(client).finished("GET", f"/flaky?times=9&name=u&how={how}", within=40)
        assert result["status"] == (503 if how == "503" else 500)
        assert len(worker.marked("flaky-u")) == 4
        result = Shop(client).finished("GET", "/flaky?times=9&name=v&how=409")
        assert result["status"] == 409
        assert len(worker.marked("flaky-v")) == 1
        result = Shop(client).finished("GET", "/in-time?seconds=20&name=w")
        assert (result["status"], "0.3 s" in result["response"]["detail"]) == (504, True)
        assert worker.marked("cancelled-w")
