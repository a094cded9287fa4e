"""A shop whose app and worker are processes, over a real Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.shop.process import ROOT, ShopWorker
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-test-session-and-nothing-else"


@pytest.fixture(scope="module")
def shop(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the shop."""
    env = {"REDIS_URL": redis_url, "SECRET_KEY": SECRET}
    directory = tmp_path_factory.mktemp("shop")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        ShopWorker(directory, env, pool="respond_async.pool:AsyncioPool", concurrency=20) as worker,
        (directory / "app.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "tests.support.shop.main:app", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as app,
    ):
        assert worker.process.poll() is None

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/docs").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, within=30, what=f"the app: see {directory}/app.log")
            yield url
        finally:
            app.kill()
