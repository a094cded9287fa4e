"""What holds of the queue itself, on a real Kafka."""

import secrets
from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient

import kafka_transport
from respond_async import Settings
from tests.support.records import records_of, text_of
from tests.support.shop.client import ANONYMOUS, Shop
from tests.support.shop.main import create_app
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

assert kafka_transport


@pytest.fixture(scope="module")
def topic() -> str:
    return f"sealed-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def kafka_client(
    settings: Settings, kafka: str, redis_url: str, topic: str
) -> Iterator[TestClient]:
    """A shop whose queue is in Kafka, and nobody reads it."""
    changed = settings.model_copy(
        update={"kafka_topic": topic, "backlog_limits": {topic: 30}, "queue_place_headers": True}
    )
    options = {"group_id": topic, "num_partitions": 2, "replication_factor": 1}
    with (
        Celery(broker=f"kafka://{kafka}", backend=redis_url, set_as_current=False) as celery,
        TestClient(create_app(changed, celery), raise_server_exceptions=False) as client,
    ):
        celery.conf.broker_transport_options = options
        yield client


def test_nothing_secret_is_readable_in_kafka_or_redis(
    kafka_client: TestClient, kafka: str, topic: str, token: str, store: "redis.Redis"
) -> None:
    headers = {
        "Authorization": f"Bearer {token}",
        "Cookie": "session=cookie-in-clear",
        "Idempotency-Key": '"key-in-clear"',
        "X-Async-Request": "true",
    }
    # The hub's keys of other tests have the name of a channel, and so the `sub` of a user.
    store.flushall()
    for body in (b"body-in-clear", b"body-in-clear" * 20_000):
        own = {**headers, "Idempotency-Key": f'"key-in-clear-{len(body)}"'}
        answer = kafka_client.post("/digest?q=query-in-clear", content=body, headers=own)
        assert answer.status_code == 202, answer.text
    listed = "/api/v1/async_background_response/"
    bearer = {"Authorization": f"Bearer {token}"}
    wait_until(
        lambda: len(kafka_client.get(listed, headers=bearer).json()["data"]) >= 2,
        within=10,
        what="the list",
    )
    seen = text_of(kafka, topic)
    assert seen.count(b"aes256gcm.") == 2
    # DUMP compresses otherwise, and hides what would be readable.
    store.config_set("rdbcompression", "no")
    in_redis = [key + b" " + (store.dump(key) or b"") for key in store.scan_iter("*")]
    assert any(b"aes256gcm." in each for each in in_redis)
    for secret in (b"in-clear", token.encode(), token.rpartition(".")[2].encode(), b"alice"):
        assert secret not in seen
        assert not [each for each in in_redis if secret in each]


def test_a_partition_key_is_the_records_key(kafka_client: TestClient, kafka: str) -> None:
    for item in ("7", "8", "7"):
        assert kafka_client.put(f"/items/{item}", headers=ANONYMOUS).status_code == 202
    records = records_of(kafka, "items")
    keys = sorted((m.key() or b"", m.partition()) for m in records)
    assert [key for key, _ in keys] == [b"7", b"7", b"8"]
    assert keys[0] == keys[1]


def test_the_backlog_of_a_topic_is_known(kafka_client: TestClient) -> None:
    def refused() -> bool:
        return bool(kafka_client.get("/maybe", headers=ANONYMOUS).status_code == 503)

    def depth() -> int:
        answer = kafka_client.get("/maybe", headers=ANONYMOUS)
        return int(answer.headers.get("x-queue-depth", 0))

    wait_until(depth, within=15, what="a depth", every=0.2)
    wait_until(refused, within=20, what="the limit", every=0.05)
    assert Shop(kafka_client).client.get("/maybe").status_code == 200
