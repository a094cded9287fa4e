"""The service while workers and brokers go away: nothing accepted is lost, nothing half-accepted."""

import json
import secrets
import time
from pathlib import Path

import pytest
import redis
from websockets.sync.client import connect

from tests.support.kafka_server import KafkaServer
from tests.support.service import Service
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.e2e]


def stored(client: redis.Redis) -> set[str]:
    """What is kept of requests, save the mark that one was withdrawn, which stops a late copy."""
    keys: set[str] = set(client.scan_iter("respond_async:*"))
    return {key for key in keys if not key.startswith("respond_async:withdrawn:")}


def test_a_worker_killed_with_20_replays_loses_none(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    channel = secrets.token_urlsafe(24)
    with Service(tmp_path, kafka, redis_url) as service:
        first = service.worker("w1")
        ids = {
            service.accepted("GET", "/api/v1/demo/sleep?seconds=4", channel).json()["meta"][
                "async_request_id"
            ]
            for _ in range(20)
        }
        running = [f"respond_async:running:{task_id}" for task_id in ids]
        with redis.Redis.from_url(redis_url) as client:
            wait_until(lambda: client.exists(*running) == 20, within=20, what="20 begun")
        with connect(f"{service.hub}?channel={channel}") as socket:
            service.worker("w2")
            first.kill()
            killed = time.monotonic()
            heard: set[str] = set()
            while heard != ids:
                # Six seconds until the group gives the member up, four for the endpoint.
                left = killed + 20 - time.monotonic()
                message = json.loads(socket.recv(timeout=max(left, 0.01)))
                if message["type"] == "data":
                    heard.add(json.loads(message["data"])["task_id"])
        for task_id in ids:
            assert service.result(task_id, channel, within=1)["status"] == 200


def test_a_worker_killed_and_started_again_is_consuming_within_seconds(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    channel = secrets.token_urlsafe(24)
    with Service(tmp_path, kafka, redis_url) as service:
        first = service.worker("w1")
        one = service.accepted("GET", "/api/v1/demo/sleep?seconds=0", channel).json()
        service.result(one["meta"]["async_request_id"], channel)
        first.kill()
        killed = time.monotonic()
        service.worker("w2")
        two = service.accepted("GET", "/api/v1/demo/sleep?seconds=0", channel).json()
        service.result(two["meta"]["async_request_id"], channel, within=20)
        assert time.monotonic() - killed < 12


def test_with_the_broker_down_the_answer_is_503_and_nothing_stays_behind(
    own_kafka: KafkaServer, redis_url: str, clean_redis: redis.Redis, tmp_path: Path
) -> None:
    channel = secrets.token_urlsafe(24)
    path = "/api/v1/demo/csv-report"
    large = {"file": ("a.csv", "a,b\n" + "1,2\n" * 400_000)}
    with Service(tmp_path, own_kafka.bootstrap_servers, redis_url) as service:
        for first_publish in (True, False):
            own_kafka.stop()
            before = stored(clean_redis)
            started = time.monotonic()
            answer = service.client.post(path, headers={"X-Async-Request": channel}, files=large)
            # KAFKA_PUBLISH_TIMEOUT_SECONDS is 3 here.
            assert time.monotonic() - started < 12
            assert answer.status_code == 503, (first_publish, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert "retry-after" in answer.headers
            assert stored(clean_redis) == before
            own_kafka.start()
            wait_until(
                lambda: (
                    service.client.post(
                        path, headers={"X-Async-Request": channel}, files=large
                    ).status_code
                    == 202
                ),
                within=20,
                what="an accepted request",
            )


def test_a_worker_with_a_lifetime_is_replaced_and_nothing_is_lost_or_run_twice(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    channel = secrets.token_urlsafe(24)
    settings = {"WORKER_LIFETIME_SECONDS": "3", "WORKER_LIFETIME_JITTER_SECONDS": "1"}
    with Service(tmp_path, kafka, redis_url, **settings) as service:
        current = service.worker("w0")
        ids: list[str] = []
        lives = 1
        deadline = time.monotonic() + 60
        while lives < 3 and time.monotonic() < deadline:
            accepted = service.accepted("GET", "/api/v1/demo/sleep?seconds=0.3", channel).json()
            ids.append(accepted["meta"]["async_request_id"])
            time.sleep(0.1)  # The load: ten a second.
            assert current.process is not None
            if current.process.poll() is not None:
                # What a supervisor does: `restart` in compose.yaml, the dev command.
                assert current.process.returncode == 0
                current = service.worker(f"w{lives}")
                lives += 1
        assert lives == 3
        for task_id in ids:
            assert service.result(task_id, channel)["status"] == 200
        current.stop()
        ran = sum(worker.output().count("ended: answered") for worker in service.workers)
        assert ran == len(ids)
