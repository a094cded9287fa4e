"""Requests whose Redis is a set that Sentinel watches: the master dies while they run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from fastapi.testclient import TestClient
from pydantic import SecretStr

from respond_async import Settings
from respond_async.connections import result_backend
from tests.integration.respond_async.conftest import SECRET
from tests.support.redis_sets import SentinelSet, need_redis_7
from tests.support.shop.client import Shop
from tests.support.shop.main import create_app
from tests.support.shop.process import ShopWorker


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[SentinelSet]:
    need_redis_7()
    with SentinelSet(tmp_path) as servers:
        yield servers


def test_requests_outlive_the_master(watched: SentinelSet, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        redis_url=watched.url, secret_key=[SecretStr(SECRET)], redis_timeout_seconds=2
    )
    env = {"REDIS_URL": watched.url, "SHOP_BROKER": redis_url, "SECRET_KEY": SECRET}
    with Celery(broker=redis_url, set_as_current=False) as celery:
        celery.conf.update(result_backend(settings))
        with (
            ShopWorker(tmp_path, env) as worker,
            TestClient(create_app(settings, celery)) as client,
        ):
            shop = Shop(client)
            running = [shop.accepted("GET", f"/sleep?seconds=8&name=n{n}") for n in range(3)]
            shop.result(shop.accepted("GET", "/sleep?seconds=0&name=before"), within=60)
            # What only the dead master had would be gone: that is Redis' own promise, not ours.
            assert watched.client(watched.master).wait(2, 5000) == 2
            watched.fail_over()
            for number, task_id in enumerate(running):
                # A client of a machine as slow as it may be is told to try again meanwhile.
                answer = shop.result(task_id, within=60, storage_away=True)
                assert answer["response"] == f"n{number}"
            after = shop.accepted("GET", "/sleep?seconds=0&name=after")
            assert shop.result(after, within=60)["response"] == "after"
            assert len(worker.marked("begin-n0")) == 1
