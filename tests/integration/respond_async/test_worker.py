"""What a worker does with a request, whatever happens to it on the way."""

import base64
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient

from respond_async import Settings
from tests.support.redis_server import RedisServer
from tests.support.shop.client import CHANNEL, Shop, listening
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker
from tests.support.waiting import wait_until

OWNER = f"anon.{CHANNEL}"


@pytest.fixture(autouse=True)
def empty_queue(store: "redis.Redis") -> None:
    store.flushall()


@pytest.fixture
def shop(settings: Settings, redis_url: str) -> Iterator[Shop]:
    # Own connections: those of the module forget their bindings when Redis is emptied.
    with (
        Celery(broker=redis_url, backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(settings, celery), raise_server_exceptions=False) as client,
    ):
        yield Shop(client)


ASYNCIO = "respond_async.pool:AsyncioPool"


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork", ASYNCIO])
def test_every_pool_replays_and_runs_the_lifespan_once_a_process(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis", pool: str
) -> None:
    with ShopWorker(tmp_path, env, pool=pool, concurrency=2) as worker:
        with listening(store, OWNER) as heard:
            ids = [shop.accepted("POST", f"/digest?n={n}", content=b"x" * n) for n in range(8)]
            for size, task_id in enumerate(ids):
                assert shop.result(task_id)["response"]["size"] == size
            wait_until(lambda: sorted(heard()) == sorted(ids), within=10, what="notifications")
        processes = 2 if pool == "prefork" else 1
        wait_until(
            lambda: len(worker.marked("lifespan-start")) == processes, within=10, what="starts"
        )
        assert worker.stop() == 0
        assert sorted(worker.marked("lifespan-end")) == sorted(worker.marked("lifespan-start"))
        assert len(set(worker.marked("lifespan-start"))) == processes


@pytest.mark.parametrize("pool", ["solo", "prefork", ASYNCIO])
def test_an_async_task_in_a_pool_without_a_loop_says_what_to_set(
    env: dict[str, str], tmp_path: Path, redis_url: str, pool: str
) -> None:
    with (
        ShopWorker(tmp_path, env, pool=pool, concurrency=1) as worker,
        Celery(broker=redis_url, backend=redis_url) as celery,
    ):
        result = celery.send_task("shop.awaited", ("text",)).get(propagate=False, timeout=20)
        if pool == ASYNCIO:
            assert result == "text"
        else:
            assert "respond_async.pool:AsyncioPool" in str(result)
            assert "shop.awaited is async def" in worker.output()


def test_replays_run_side_by_side(shop: Shop, env: dict[str, str], tmp_path: Path) -> None:
    with ShopWorker(tmp_path, env, concurrency=8):
        begun = time.monotonic()
        ids = [shop.accepted("GET", "/sleep?seconds=1&name=n") for _ in range(8)]
        for task_id in ids:
            shop.result(task_id)
        assert time.monotonic() - begun < 5


def test_the_owner_is_told_only_when_the_result_can_be_read(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    with ShopWorker(tmp_path, env), listening(store, OWNER) as heard:
        for _ in range(20):
            task_id = shop.accepted("GET", "/maybe")
            wait_until(heard, within=10, what="the notification", every=0.001)
            assert heard() == [task_id]
            heard().clear()
            assert shop.asked(task_id).status_code == 200


def test_logs_and_events_show_method_and_path_and_nothing_else(
    shop: Shop, env: dict[str, str], tmp_path: Path, redis_url: str
) -> None:
    events: list[dict[str, Any]] = []
    with ShopWorker(tmp_path, env) as worker, Celery(broker=redis_url) as celery:
        with celery.connection_for_read() as connection:
            receiver = celery.events.Receiver(connection, handlers={"*": events.append})
            thread = threading.Thread(target=lambda: _capture(receiver))
            thread.start()
            # The worker's heartbeat: from now on nothing is missed.
            wait_until(lambda: events, within=10, what="the first event")
            result = shop.finished(
                "POST", "/digest?q=query-in-clear", content=b"body-in-clear" * 20,
                headers={"X-Mine": "header-in-clear"},
            )  # fmt: skip
            wait_until(lambda: _kinds(events) >= {"task-succeeded"}, within=10, what="events")
            receiver.should_stop = True
            thread.join(10)
        shop.finished("GET", "/crash?q=query-in-clear")
        shown = worker.output() + json.dumps(events)
    (received,) = [event for event in events if event["type"] == "task-received"]
    assert (received["args"], received["kwargs"]) == ("POST /digest", "{}")
    (succeeded,) = [event for event in events if event["type"] == "task-succeeded"]
    size = len(json.dumps(result["response"], separators=(",", ":")))
    assert succeeded["result"] == f"200, {size} bytes"
    assert "succeeded in" in worker.output()
    for secret in ("in-clear", CHANNEL, result["response"]["sha256"], "aes256gcm."):
        assert secret not in shown


def _capture(receiver: Any) -> None:
    try:
        receiver.capture(limit=None, timeout=15, wakeup=True)
    except TimeoutError:
        return


def _kinds(events: list[dict[str, Any]]) -> set[str]:
    return {event["type"] for event in events}


def test_a_request_delivered_again_while_it_runs_is_not_run_beside_itself(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    """Its partition moved to another worker, or its visibility timeout ran out."""
    task_id = shop.accepted("GET", "/sleep?seconds=1.5&name=once")
    (message,) = store.lrange("async_requests", 0, -1)
    with listening(store, OWNER) as heard, ShopWorker(tmp_path, env) as worker:
        wait_until(lambda: worker.marked("begin-once"), within=10, what="the first run")
        again = json.loads(message)
        again["properties"]["delivery_tag"] = "another-delivery"
        store.lpush("async_requests", json.dumps(again))
        wait_until(
            lambda: worker.output().count(f"{task_id}] succeeded") == 2, within=15, what="2nd run"
        )
        assert shop.result(task_id)["response"] == "once"
        assert len(worker.marked("begin-once")) == 1
        assert heard() == [task_id]
        assert not store.exists(f"respond_async:running:{task_id}")


def test_a_request_delivered_again_after_its_result_runs_once(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    """The worker was lost between storing the result and acknowledging."""
    task_id = shop.accepted("GET", "/sleep?seconds=0&name=once")
    (message,) = store.lrange("async_requests", 0, -1)
    with listening(store, OWNER) as heard, ShopWorker(tmp_path, env) as worker:
        first = shop.result(task_id)
        wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        again = json.loads(message)
        again["properties"]["delivery_tag"] = "another-delivery"
        store.lpush("async_requests", json.dumps(again))
        wait_until(
            lambda: worker.output().count(f"{task_id}] succeeded") == 2, within=10, what="2nd run"
        )
        assert shop.result(task_id) == first
        assert len(worker.marked("begin-once")) == 1
        assert heard() == [task_id]


def test_a_lost_process_runs_its_request_again(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    with ShopWorker(tmp_path, env, pool="prefork", concurrency=1) as worker:
        with listening(store, OWNER) as heard:
            task_id = shop.accepted("GET", "/kill?times=1&name=once")
            assert shop.result(task_id)["response"] == "survived"
            wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        assert len(worker.marked("kill-once")) == 2


def test_a_process_lost_after_storing_the_result_leaves_nobody_waiting(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    env = env | {"SHOP_DIES": "after-storing"}
    with (
        listening(store, OWNER) as heard,
        ShopWorker(tmp_path, env, pool="prefork", concurrency=1) as worker,
    ):
        task_id = shop.accepted("GET", "/sleep?seconds=0&name=stored")
        assert shop.result(task_id)["response"] == "stored"
        wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        assert len(worker.marked("begin-stored")) == 1


def test_a_request_that_kills_every_worker_is_given_up(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    with ShopWorker(tmp_path, env, pool="prefork", concurrency=1) as worker:
        with listening(store, OWNER) as heard:
            task_id = shop.accepted("GET", "/kill?times=100&name=always")
            result = shop.result(task_id, within=40)
            assert result["status"] == 500
            assert "3 times" in result["response"]["detail"]
            wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        assert len(worker.marked("kill-always")) == 3


def test_a_revoked_request_ends_visibly(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis", redis_url: str
) -> None:
    with (
        ShopWorker(tmp_path, env, pool="prefork", concurrency=1) as worker,
        Celery(broker=redis_url) as celery,
        listening(store, OWNER) as heard,
    ):
        running = shop.accepted("GET", "/sleep?seconds=30&name=long")
        waiting = shop.accepted("GET", "/sleep?seconds=0&name=never")
        wait_until(lambda: worker.marked("begin-long"), within=10, what="the first to begin")
        celery.control.revoke(waiting)
        celery.control.revoke(running, terminate=True, signal="SIGKILL")
        for task_id in (running, waiting):
            result = shop.result(task_id)
            assert result["status"] == 503
            assert "revoked" in result["response"]["detail"]
            assert result["endpoint"].startswith("/sleep?seconds=")
        wait_until(lambda: sorted(heard()) == sorted([running, waiting]), within=10, what="both")
        assert not worker.marked("begin-never")


@pytest.mark.parametrize("option", ["--time-limit=1", "--soft-time-limit=1"])
def test_a_time_limit_ends_a_request_visibly(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis", option: str
) -> None:
    env = env | {"REPLAY_TIMEOUT_SECONDS": "60"}
    with ShopWorker(tmp_path, env, pool="prefork", concurrency=1, options=(option,)) as worker:
        with listening(store, OWNER) as heard:
            task_id = shop.accepted("GET", "/sleep?seconds=30&name=long")
            result = shop.result(task_id, within=10)
            assert result["status"] == 504
            assert result["endpoint"] == "/sleep?seconds=30&name=long"
            assert "time limit" in result["response"]["detail"]
            wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        if "soft" in option:
            wait_until(lambda: worker.marked("cancelled-long"), within=5, what="its end")


def test_a_request_whose_client_was_told_503_does_not_run(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    """The broker confirmed too late, and has the request all the same."""
    task_id = shop.accepted("GET", "/sleep?seconds=0&name=withdrawn")
    store.set(f"respond_async:withdrawn:{task_id}", "1")
    with ShopWorker(tmp_path, env) as worker:
        shop.finished("GET", "/maybe")
        assert not worker.marked("begin-withdrawn")
        assert shop.asked(task_id).status_code == 404


def test_a_lost_body_ends_visibly(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    task_id = shop.accepted("POST", "/digest", content=bytes(300_000))
    store.delete(f"respond_async:body:{task_id}")
    with listening(store, OWNER) as heard, ShopWorker(tmp_path, env) as worker:
        result = shop.result(task_id)
        assert result["status"] == 500
        assert "could not run" in result["response"]["detail"]
        assert result["endpoint"] == "/digest"
        wait_until(lambda: heard() == [task_id], within=10, what="the notification")
        assert "Traceback" not in worker.output()


def test_a_claimed_body_is_dropped_once_the_result_is_there(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    task_id = shop.accepted("POST", "/digest", content=bytes(300_000))
    assert store.exists(f"respond_async:body:{task_id}")
    with ShopWorker(tmp_path, env):
        shop.result(task_id)
        wait_until(
            lambda: not store.exists(f"respond_async:body:{task_id}"), within=5, what="its end"
        )


def test_foreign_messages_fail_and_do_no_harm(
    shop: Shop, env: dict[str, str], tmp_path: Path, redis_url: str
) -> None:
    plain = "plain:" + base64.b64encode(b'{"version": 1}\n').decode()
    with (
        ShopWorker(tmp_path, env) as worker,
        Celery(broker=redis_url, backend=redis_url) as celery,
    ):
        for request in ("nonsense", plain, "aes256gcm.00000000.AAAA", 7, None, {"path": "/"}):
            task = celery.send_task(
                "respond_async.replay", kwargs={"request": request}, queue="async_requests"
            )
            error = task.get(propagate=False, timeout=10)
            assert type(error).__name__ == "EnvelopeError"
        assert shop.finished("GET", "/only-async")["response"] == "done"
        assert "Traceback" not in worker.output()


def test_a_request_cannot_be_passed_off_as_another_task(
    shop: Shop, env: dict[str, str], tmp_path: Path, redis_url: str, store: "redis.Redis"
) -> None:
    shop.accepted("GET", "/sleep?seconds=0&name=copied")
    (message,) = store.lrange("async_requests", 0, -1)
    _, kwargs, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
    store.delete("async_requests")
    with (
        ShopWorker(tmp_path, env) as worker,
        Celery(broker=redis_url, backend=redis_url) as celery,
    ):
        task = celery.send_task("respond_async.replay", kwargs=kwargs, queue="async_requests")
        assert "another task" in str(task.get(propagate=False, timeout=10))
        assert not worker.marked("begin-copied")


def test_a_worker_ends_warmly_after_its_lifetime(
    shop: Shop, env: dict[str, str], tmp_path: Path
) -> None:
    env = env | {"WORKER_LIFETIME_SECONDS": "2", "WORKER_LIFETIME_JITTER_SECONDS": "0.5"}
    env["REPLAY_TIMEOUT_SECONDS"] = "60"
    with ShopWorker(tmp_path, env) as worker:
        task_id = shop.accepted("GET", "/sleep?seconds=4&name=last")
        assert worker.process.wait(20) == 0
        assert shop.asked(task_id).json()["response"] == "last"
        (line,) = [line for line in worker.output().splitlines() if "lifetime" in line]
        assert "warm shutdown" in line


def test_a_worker_whose_app_cannot_start_ends_and_loses_nothing(
    shop: Shop, env: dict[str, str], tmp_path: Path
) -> None:
    task_id = shop.accepted("GET", "/only-async")
    broken = ShopWorker(tmp_path, env, name="broken")
    broken.command[broken.command.index("tests.support.shop.worker")] = "tests.support.shop.broken"
    with pytest.raises(AssertionError, match=r"No module named 'tests.support.shop.missing'"):
        broken.start()
    assert broken.process.wait(20) != 0
    with ShopWorker(tmp_path, env):
        assert shop.result(task_id, within=30)["response"] == "done"


def test_a_worker_waits_for_redis_and_finishes(
    settings: Settings, env: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    """Redis goes while an endpoint runs, stays away for 3 s and comes back without its data."""
    with (
        RedisServer(tmp_path) as own,
        Celery(broker=redis_url, backend=own.url, set_as_current=False) as celery,
        TestClient(
            create_app(settings.model_copy(update={"redis_url": own.url}), celery)
        ) as client,
        redis.Redis.from_url(own.url) as own_store,
    ):
        shop = Shop(client)
        env = env | {"REDIS_URL": own.url, "SHOP_BROKER": redis_url}
        worker = ShopWorker(tmp_path, env | {"REPLAY_TIMEOUT_SECONDS": "60"})
        worker.broker = redis_url
        with worker:
            task_id = shop.accepted("GET", "/sleep?seconds=2&name=over")
            wait_until(lambda: worker.marked("begin-over"), within=10, what="its begin")
            own.stop()
            wait_until(lambda: worker.marked("end-over"), within=10, what="its end")
            back = time.monotonic() + 3
            wait_until(lambda: time.monotonic() > back, within=5, what="3 s")
            # It must not tell before somebody listens.
            worker.process.send_signal(signal.SIGSTOP)
            own.start()
            with listening(own_store, OWNER) as heard:
                worker.process.send_signal(signal.SIGCONT)
                wait_until(lambda: heard() == [task_id], within=30, what="the notification")
            assert shop.result(task_id)["response"] == "over"
            assert len(worker.marked("begin-over")) == 1


def test_killed_workers_requests_are_finished_by_another(
    shop: Shop, env: dict[str, str], tmp_path: Path, store: "redis.Redis"
) -> None:
    env = env | {"REPLAY_TIMEOUT_SECONDS": "60"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with ShopWorker(tmp_path / "a", env, concurrency=5, name="killed") as killed:
        ids = [shop.accepted("GET", "/sleep?seconds=2&name=n") for _ in range(5)]
        wait_until(lambda: len(killed.marked("begin-n")) == 5, within=10, what="all to begin")
        killed.stop(signal.SIGKILL)
    # Redis gives them back after its visibility timeout; the test does not wait for that.
    for unacknowledged in store.hvals("unacked"):
        store.lpush("async_requests", json.dumps(json.loads(unacknowledged)[0]))
    with listening(store, OWNER) as heard, ShopWorker(tmp_path / "b", env, concurrency=5):
        for task_id in ids:
            assert shop.result(task_id, within=60)["response"] == "n"
        wait_until(lambda: set(heard()) == set(ids), within=10, what="every notification")
