"""The hub as a process of its own: `uvicorn ws_hub.main:app`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.hub_server import NAME, SECRET, closed_with, received
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from ws_hub import HubSettings, TokenVerifier


class HubProcess:
    def __init__(self, directory: Path, redis_url: str) -> None:
        self.port = free_port()
        self._log = directory / "hub.log"
        command = [sys.executable, "-m", "uvicorn", "ws_hub.main:app", "--port", str(self.port)]
        environment = {**os.environ, "REDIS_URL": redis_url, "SECRET_KEY": SECRET}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--log-level", "trace"], env=environment, stdout=log, stderr=log
            )

    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code
        except httpx.TransportError:
            return 0


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def process(tmp_path: Path, own_redis: RedisServer) -> Iterator[HubProcess]:
    started = HubProcess(tmp_path, own_redis.url)
    try:
        wait_until(lambda: started.get("/livez") == 200, within=20, what="the hub process is up")
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_readiness_follows_redis_and_liveness_does_not(
    process: HubProcess, own_redis: RedisServer
) -> None:
    assert process.get("/readyz") == 200
    own_redis.stop()
    assert process.get("/readyz") == 503
    assert process.get("/livez") == 200
    own_redis.start()
    assert process.get("/readyz") == 200


def test_no_log_line_shows_a_token_or_an_anonymous_channel(process: HubProcess) -> None:
    token = TokenVerifier(HubSettings.model_validate({"secret_key": SECRET})).issue("alice", 60)
    refused = token[:-8] + "forgeda"
    for query in (f"token={token}", f"channel={NAME}"):
        with connect(f"ws://127.0.0.1:{process.port}/ws?{query}") as socket:
            assert received(socket)["type"] == "subscribed"
    with connect(f"ws://127.0.0.1:{process.port}/ws?token={refused}") as socket:
        assert closed_with(socket)[0] == 1008
    process.get(f"/ws?token={token}")
    wait_until(lambda: process.log().count("[hidden]") >= 4, within=5, what="the lines are written")
    for secret in (token, refused, token.split(".")[1], NAME):
        assert secret not in process.log()


def test_sigterm_closes_the_sockets_with_1012_and_ends_the_process(process: HubProcess) -> None:
    with connect(f"ws://127.0.0.1:{process.port}/ws?channel={NAME}") as socket:
        assert received(socket)["type"] == "subscribed"
        process.process.send_signal(signal.SIGTERM)
        assert closed_with(socket)[0] == 1012
    process.process.wait(10)
    assert "Traceback" not in process.log()
