"""Redis goes and comes back; sockets stay."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_server import NAME, closed_with, received, received_of_type
from tests.support.redis_server import RedisServer
from ws_hub import anonymous_channel, completed, publish, user_channel


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may stop and start."""
    with RedisServer(tmp_path) as server:
        yield server


@contextlib.contextmanager
def client_of(server: RedisServer) -> Iterator[redis.Redis]:
    client = redis.Redis(port=server.port, decode_responses=True)
    yield client
    client.close()


def test_sockets_stay_and_are_told_when_redis_is_back(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    alice = f"token={hub.token('alice')}"
    with hub.subscribed() as first, hub.subscribed() as second, hub.subscribed(alice) as third:
        own_redis.stop()
        first.send('{"type": "ping"}')
        assert received(first) == {"type": "pong"}
        own_redis.start()
        for socket in (first, second):
            assert received(socket) == {"type": "subscribed", "channel": NAME}
        assert received(third) == {"type": "subscribed", "channel": "user.alice"}
        with client_of(own_redis) as client:
            publish(client, anonymous_channel(NAME), completed("back"))
            publish(client, user_channel("alice"), completed("back"))
        for socket in (first, second, third):
            assert "back" in received(socket)["data"]


def test_a_client_that_comes_while_redis_is_away_is_served_when_it_is_back(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    own_redis.stop()
    with hub.connect() as socket:
        # Answered only once subscribed: the hub has taken the socket and waits for Redis.
        own_redis.start()
        assert received(socket) == {"type": "subscribed", "channel": NAME}
        with client_of(own_redis) as client:
            publish(client, anonymous_channel(NAME), completed("served"))
        assert "served" in received(socket)["data"]


def test_a_client_is_told_to_try_again_later_when_redis_stays_away(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url, hub_subscribe_timeout_seconds=0.5)
    own_redis.stop()
    with hub.connect() as socket:
        assert closed_with(socket) == (1013, "notifications are not available now")


def test_a_connection_that_redis_drops_is_made_anew(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    with hub.subscribed() as socket, client_of(own_redis) as client:
        for round_ in range(5):
            assert client.client_kill_filter(_type="pubsub") == 1
            assert received(socket)["type"] == "subscribed"
            publish(client, anonymous_channel(NAME), completed(f"round-{round_}"))
            assert f"round-{round_}" in received_of_type(socket, "data")["data"]


def test_a_channel_that_was_left_while_redis_was_away_is_not_subscribed_again(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    with hub.subscribed() as stays:
        with hub.subscribed("channel=the-one-that-is-left-then"):
            own_redis.stop()
        own_redis.start()
        assert received(stays)["type"] == "subscribed"
        with client_of(own_redis) as client:
            names = client.pubsub_channels("ws_hub:anon.*")
        assert names == [f"ws_hub:anon.{NAME}"]


def test_a_redis_that_stands_still_is_noticed(start_hub: StartHub, own_redis: RedisServer) -> None:
    # No connection is closed and no error comes: it only stays silent.
    hub = start_hub(redis_url=own_redis.url)
    link = hub.hub._feeds.subscriber._only
    assert link is not None
    link._silence_seconds = 0.3
    with hub.subscribed() as socket:
        assert own_redis.process is not None
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            socket.send('{"type": "ping"}')
            assert received(socket) == {"type": "pong"}
            with pytest.raises(TimeoutError):
                socket.recv(timeout=1.5)
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert received(socket)["type"] == "subscribed"
        with client_of(own_redis) as client:
            publish(client, anonymous_channel(NAME), completed("awake"))
        assert "awake" in received_of_type(socket, "data")["data"]


def test_a_quiet_redis_is_not_taken_for_a_lost_one(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    link = hub.hub._feeds.subscriber._only
    assert link is not None
    link._silence_seconds = 0.1
    with hub.subscribed() as socket, client_of(own_redis) as client:
        [before] = client.client_list(_type="pubsub")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=1.5)
        [after] = client.client_list(_type="pubsub")
        assert before["id"] == after["id"]
