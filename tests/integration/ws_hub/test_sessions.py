"""What a socket does while it is open, and how it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_server import (
    NAME,
    RunningHub,
    closed_with,
    pubsub_connections,
    received,
    received_of_type,
)
from tests.support.waiting import wait_until
from ws_hub import Hub, HubSettings, anonymous_channel, completed, publish
from ws_hub.sessions import Session

Redis = redis.Redis
SLOW = "a-channel-of-a-slow-reader"
# The client's own buffer is one message; after that it stops reading from its TCP connection,
# which fills up because nothing is compressed.
NOT_READING: dict[str, Any] = {"max_queue": 1, "compression": None}


def gone(client: Redis) -> None:
    wait_until(lambda: pubsub_connections(client) == 0, within=5, what="no connection to Redis")


def test_a_ping_is_answered(hub: RunningHub) -> None:
    with hub.subscribed() as socket:
        socket.send('{"type": "ping"}')
        assert received(socket) == {"type": "pong"}


def test_the_hub_pings_and_takes_pongs(start_hub: StartHub) -> None:
    hub = start_hub(hub_ping_interval_seconds=0.1)
    with hub.subscribed() as socket:
        for _ in range(3):
            assert received(socket) == {"type": "ping"}
            socket.send('{"type": "pong"}')


def test_a_silent_client_stays(start_hub: StartHub, clean_redis: Redis) -> None:
    hub = start_hub(hub_ping_interval_seconds=0.1)
    with hub.subscribed() as socket:
        for _ in range(10):
            received_of_type(socket, "ping")
        publish(clean_redis, anonymous_channel(NAME), completed("x"))
        received_of_type(socket, "data")


@pytest.mark.parametrize("wrong", ["rubbish", "[]", '{"type": "data"}', b"\x00\x01"])
def test_a_wrong_message_is_answered_and_the_socket_stays(
    wrong: str | bytes, hub: RunningHub
) -> None:
    with hub.subscribed() as socket:
        socket.send(wrong)
        answer = received(socket)
        assert answer["type"] == "error"
        assert answer["detail"]
        socket.send('{"type": "ping"}')
        assert received(socket) == {"type": "pong"}


@pytest.mark.parametrize("large", ["x" * 4097, b"x" * 4097, "ä" * 2049])
def test_a_message_over_the_limit_ends_the_socket(large: str | bytes, hub: RunningHub) -> None:
    with hub.subscribed() as socket:
        socket.send(large)
        code, reason = closed_with(socket)
        assert code == 1009
        assert "4096 bytes" in reason


def test_a_burst_of_pings_is_answered_ping_by_ping(start_hub: StartHub) -> None:
    hub = start_hub(hub_send_queue_messages=8)
    with hub.subscribed() as socket:
        for _ in range(200):
            socket.send('{"type": "ping"}')
        assert [received(socket)["type"] for _ in range(200)] == ["pong"] * 200


def test_a_slow_reader_does_not_hold_back_the_others(
    start_hub: StartHub, clean_redis: Redis
) -> None:
    hub = start_hub(hub_send_queue_messages=16)
    message = {"type": "data", "data": "x" * 100_000}
    with hub.subscribed(f"channel={SLOW}", **NOT_READING) as slow, hub.subscribed() as quick:
        channel = anonymous_channel(SLOW)

        def full() -> bool:
            publish(clean_redis, channel, message)
            publish(clean_redis, anonymous_channel(NAME), completed("quick"))
            # Answered while the other one's buffers fill, and within a second every time.
            assert "quick" in received(quick, within=1)["data"]
            [(_, listeners)] = clean_redis.pubsub_numsub(f"ws_hub:{channel}")
            return listeners == 0

        wait_until(full, within=30, what="the slow reader is let go", every=0)
        code, reason = closed_with(slow)
        assert code == 1013
        assert "slowly" in reason


def test_a_reader_that_stands_still_is_let_go_before_its_queue_is_full(
    start_hub: StartHub, clean_redis: Redis
) -> None:
    hub = start_hub(hub_send_queue_messages=10_000, hub_send_timeout_seconds=0.5)
    channel = anonymous_channel(SLOW)
    with hub.subscribed(f"channel={SLOW}", **NOT_READING) as slow:

        def full() -> bool:
            publish(clean_redis, channel, {"type": "data", "data": "x" * 1_000_000})
            [(_, listeners)] = clean_redis.pubsub_numsub(f"ws_hub:{channel}")
            return listeners == 0

        wait_until(full, within=30, what="the reader is let go")
        assert closed_with(slow)[0] == 1013


def test_a_failure_inside_is_1011_without_a_traceback(
    hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a-detail-of-the-inside")

    monkeypatch.setattr(Session, "_answer", fails)
    with hub.subscribed() as socket:
        socket.send('{"type": "ping"}')
        assert closed_with(socket) == (1011, "internal error")


def test_sockets_hear_1012_when_the_server_stops(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.subscribed() as socket:
        hub.stop()
        assert closed_with(socket)[0] == 1012
    gone(clean_redis)


def test_sockets_hear_1012_when_the_hub_stops_by_itself(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.subscribed() as socket:
        hub.stop_hub_only()
        assert closed_with(socket) == (1012, "the server restarts")
    gone(clean_redis)


def test_an_app_keeps_its_own_lifespan_and_its_state(
    start_hub: StartHub, clean_redis: Redis
) -> None:
    steps: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        steps.append("started")
        yield {"mine": "here"}
        # The hub has gone before what the app itself holds goes.
        async with asyncio.timeout(5):
            while pubsub_connections(clean_redis):
                await asyncio.sleep(0.01)
        steps.append("stopped")

    app = FastAPI(lifespan=lifespan)
    hub = start_hub(app)
    with hub.subscribed():
        assert steps == ["started"]
    hub.stop()
    assert steps == ["started", "stopped"]


def test_an_app_without_sockets_has_no_connection_to_redis(
    redis_url: str, clean_redis: Redis
) -> None:
    # As in a worker process: the app is loaded and its lifespan runs, for requests only.
    def connections() -> set[str]:
        return {one["id"] for one in clean_redis.client_list()}

    before = connections()
    app = Starlette()
    Hub(HubSettings.model_validate({"redis_url": redis_url})).install(app)
    with TestClient(app) as client:
        assert client.get("/").status_code == 404
        assert connections() == before


def test_the_hub_works_in_every_loop_an_app_is_run_in(redis_url: str, clean_redis: Redis) -> None:
    app = FastAPI()
    Hub(HubSettings.model_validate({"redis_url": redis_url})).install(app)
    for task in ("first", "second"):
        # Without `with`, the test client gives each socket a loop of its own and no shutdown.
        with TestClient(app).websocket_connect(f"/ws?channel={NAME}") as socket:
            assert socket.receive_json()["type"] == "subscribed"
            publish(clean_redis, anonymous_channel(NAME), completed(task))
            assert task in socket.receive_json()["data"]


def test_a_hub_stops_cleanly_in_another_loop_than_its_sockets_had(redis_url: str) -> None:
    app = FastAPI()
    Hub(HubSettings.model_validate({"redis_url": redis_url})).install(app)
    with TestClient(app).websocket_connect(f"/ws?channel={NAME}") as socket:
        assert socket.receive_json()["type"] == "subscribed"
    with TestClient(app):
        pass
