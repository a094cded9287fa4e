"""The hub as a process of its own: `uvicorn ws_hub.main:app`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
from websockets.sync.client import connect

from tests.support.hub_server import NAME, SECRET, closed_with, received, received_of_type
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.support.scrape import TOKEN, Scrape
from tests.support.waiting import wait_until
from ws_hub import HistoryLimits, HubSettings, TokenVerifier, anonymous_channel, publish


class HubProcess:
    def __init__(self, directory: Path, redis_url: str, *more: str, **settings: str) -> None:
        self.port = free_port()
        self._log = directory / "hub.log"
        command = [sys.executable, "-m", "uvicorn", "ws_hub.main:app", "--port", str(self.port)]
        command += more
        environment = {**os.environ, "REDIS_URL": redis_url, "SECRET_KEY": SECRET, **settings}
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
    # An answer is kept for a second.
    wait_until(lambda: process.get("/readyz") == 503, within=10, what="it is not ready")
    assert process.get("/livez") == 200
    own_redis.start()
    wait_until(lambda: process.get("/readyz") == 200, within=10, what="it is ready again")


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


@pytest.mark.parametrize("processes", [1, 2])
def test_the_metrics_count_who_came_what_they_heard_and_what_was_missed(
    own_redis: RedisServer, tmp_path: Path, processes: int
) -> None:
    settings = {"METRICS_TOKEN": TOKEN}
    news = {"type": "data", "data": "news"}
    if processes > 1:
        settings["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "shared")
        (tmp_path / "shared").mkdir()
    hub = HubProcess(tmp_path, own_redis.url, "--workers", str(processes), **settings)
    url, sockets = f"http://127.0.0.1:{hub.port}", f"ws://127.0.0.1:{hub.port}/ws"
    query = f"{sockets}?protocol=2&channel={NAME}"
    try:
        wait_until(lambda: hub.get("/livez") == 200, within=30, what="the hub process is up")
        assert hub.get("/metrics") == 401
        with redis.Redis.from_url(own_redis.url) as store:

            def say(times: int) -> None:
                for _ in range(times):
                    publish(store, anonymous_channel(NAME), news, limits=HistoryLimits(3, 60))

            with connect(query) as one, connect(query) as two:
                first, _ = [received_of_type(socket, "subscribed")["id"] for socket in (one, two)]
                say(2)
                for socket in (one, two):
                    last = [received_of_type(socket, "data")["id"] for _ in range(2)][-1]

                def both_are_here() -> bool:
                    return Scrape(url).value("ws_hub_connections") == 2

                wait_until(both_are_here, within=20, what="two clients are counted")
            say(1)
            with connect(f"{query}&since={last}") as socket:
                assert received_of_type(socket, "subscribed")["recovered"] is True
            say(2)
            with connect(f"{query}&since={first}") as socket:
                assert received_of_type(socket, "subscribed")["recovered"] is False

        def counted() -> bool:
            seen = Scrape(url)
            return (
                seen.value("ws_hub_connections") == 0
                and seen.value("ws_hub_connected_total") == 4
                # Two to each of two; one that was missed; three that history still had.
                and seen.value("ws_hub_deliveries_total") == 8
                and seen.value("ws_hub_recoveries_total", result="recovered") == 1
                and seen.value("ws_hub_recoveries_total", result="gap") == 1
            )

        wait_until(counted, within=20, what="what was counted")
        assert NAME not in Scrape(url).text
    finally:
        hub.process.terminate()
        try:
            hub.process.wait(15)
        finally:
            hub.process.kill()
