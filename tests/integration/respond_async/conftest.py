"""A shop whose app runs in the test, and whose worker is a process, over a real Redis."""

from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient
from pydantic import SecretStr

from respond_async import Settings
from tests.support.shop.client import Finished, Shop
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker
from ws_hub import TokenVerifier

SECRET = "a-secret-of-the-test-session-and-nothing-else"


@pytest.fixture(scope="module")
def env(redis_url: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "SECRET_KEY": SECRET,
        "CLAIM_CHECK_BYTES": "100000",
        "MAX_REQUEST_BYTES": "5000000",
        "MAX_RESPONSE_BYTES": "2000000",
        "REPLAY_TIMEOUT_SECONDS": "2",
        "MAX_DELIVERIES": "3",
    }


@pytest.fixture(scope="module")
def settings(redis_url: str) -> Settings:
    return Settings(
        redis_url=redis_url,
        secret_key=[SecretStr(SECRET)],
        claim_check_bytes=100_000,
        max_request_bytes=5_000_000,
        kafka_publish_timeout_seconds=2,
        redis_timeout_seconds=2,
    )


@pytest.fixture(scope="module")
def celery(redis_url: str) -> Iterator[Celery]:
    with Celery(broker=redis_url, backend=redis_url, set_as_current=False) as app:
        yield app


@pytest.fixture(scope="module")
def worker(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopWorker]:
    with ShopWorker(tmp_path_factory.mktemp("worker"), env) as process:
        yield process


@pytest.fixture(scope="module")
def client(settings: Settings, celery: Celery) -> Iterator[TestClient]:
    with TestClient(create_app(settings, celery), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def token(settings: Settings) -> str:
    return TokenVerifier(settings).issue("alice", 60)


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def finished(client: TestClient) -> Finished:
    """Sends a request asynchronously, waits, and gives the result envelope."""
    return Shop(client).finished
