"""Version 2 over a socket: several channels, tokens, acks, limits."""

import contextlib
import json
import socket as sockets
import time
from typing import Any

import jwt
import pytest
import redis
from websockets.sync.client import ClientConnection

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_server import (
    NAME,
    SECRET,
    RunningHub,
    closed_with,
    received,
    received_of_type,
)
from tests.support.waiting import wait_until
from ws_hub import anonymous_channel, completed, publish, revoke, user_channel

Redis = redis.Redis
V2 = "protocol=2"


def ask(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def answered(socket: ClientConnection, **message: Any) -> dict[str, Any]:
    ask(socket, **message)
    return received(socket)


def token_of(sub: str, seconds: float = 60, **claims: Any) -> str:
    now = time.time()
    return jwt.encode({"sub": sub, "iat": int(now), "exp": now + seconds, **claims}, SECRET)


def test_several_channels_over_one_socket(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(f"{V2}&token={hub.token('alice')}") as socket:
        assert received(socket)["user"] == "alice"
        assert received(socket)["channel"] == "user.alice"
        assert answered(socket, type="subscribe", channel=NAME)["channel"] == NAME
        publish(clean_redis, anonymous_channel(NAME), completed("1"))
        publish(clean_redis, user_channel("alice"), completed("2"))
        assert [received(socket)["channel"] for _ in range(2)] == [NAME, "user.alice"]
        assert answered(socket, type="unsubscribe", channel=NAME) == {
            "type": "unsubscribed", "channel": NAME,
        }  # fmt: skip
        publish(clean_redis, anonymous_channel(NAME), completed("3"))
        publish(clean_redis, user_channel("alice"), completed("4"))
        assert "4" in received(socket)["data"]


def test_the_subprotocol_asks_for_version_2_and_may_carry_the_token(hub: RunningHub) -> None:
    offered = ["respond-async.v2", f"bearer.{hub.token('alice')}"]
    with hub.connect("", subprotocols=offered) as socket:
        assert socket.subprotocol == "respond-async.v2"
        assert received(socket)["user"] == "alice"
        assert received(socket)["channel"] == "user.alice"


def test_the_token_may_come_in_the_first_message(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(V2) as socket:
        received(socket)
        refused = answered(socket, type="subscribe", channel="user")
        assert refused["type"] == "error"
        assert "token" in refused["detail"]
        assert answered(socket, type="auth", token=token_of("alice"))["type"] == "authenticated"
        assert answered(socket, type="subscribe", channel="user")["channel"] == "user.alice"


def test_who_does_not_log_in_is_let_go(start_hub: StartHub) -> None:
    hub = start_hub(hub_auth_timeout_seconds=0.3)
    with hub.connect(V2) as socket:
        assert closed_with(socket)[0] == 1008


def test_a_token_is_renewed_without_a_reconnect(hub: RunningHub) -> None:
    with hub.connect(f"{V2}&token={token_of('alice', 2)}") as socket:
        received_of_type(socket, "subscribed")
        renewed = answered(socket, type="auth", token=token_of("alice", 4))
        assert renewed["type"] == "authenticated"
        began = time.monotonic()
        assert closed_with(socket) == (1008, "the token has expired")
        assert time.monotonic() - began > 2.2


def test_a_bad_renewal_leaves_the_token_it_has(hub: RunningHub) -> None:
    with hub.connect(f"{V2}&token={token_of('alice')}") as socket:
        received_of_type(socket, "subscribed")
        assert answered(socket, type="auth", token="rubbish")["type"] == "error"
        assert answered(socket, type="ping") == {"type": "pong"}


def test_a_token_of_somebody_else_ends_the_socket(hub: RunningHub) -> None:
    with hub.connect(f"{V2}&token={token_of('alice')}") as socket:
        received_of_type(socket, "subscribed")
        ask(socket, type="auth", token=token_of("bob"))
        assert closed_with(socket)[0] == 1008


@pytest.mark.parametrize("query", ["", V2 + "&"])
def test_a_revoked_user_is_let_go_and_kept_out(
    query: str, hub: RunningHub, clean_redis: Redis
) -> None:
    url = f"{query}token={token_of('carol')}"
    with hub.connect(url) as socket, hub.connect(f"{query}token={token_of('bob')}") as other:
        received_of_type(socket, "subscribed")
        received_of_type(other, "subscribed")
        revoke(clean_redis, user="carol")
        assert closed_with(socket) == (1008, "the token was revoked")
        other.send('{"type": "ping"}')
        received_of_type(other, "pong")
    with hub.connect(url) as socket:
        assert closed_with(socket) == (1008, "the token was revoked")
    with hub.connect(f"{query}token={token_of('carol', iat=int(time.time()) + 2)}") as socket:
        received_of_type(socket, "subscribed")


def test_one_token_is_revoked_by_its_jti(hub: RunningHub, clean_redis: Redis) -> None:
    first, second = (f"{V2}&token={token_of('carol', jti=jti)}" for jti in ("a", "b"))
    with hub.connect(first) as one, hub.connect(second) as other:
        received_of_type(one, "subscribed")
        received_of_type(other, "subscribed")
        revoke(clean_redis, jti="a")
        assert closed_with(one)[0] == 1008
        assert answered(other, type="ping") == {"type": "pong"}


def test_a_revocation_that_was_missed_is_found_when_redis_is_back(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.connect(f"{V2}&token={token_of('carol')}") as socket:
        received_of_type(socket, "subscribed")
        clean_redis.set("ws_hub:revoked:user:carol", int(time.time()) + 5)
        clean_redis.client_kill_filter(_type="pubsub")
        assert closed_with(socket)[0] == 1008


def test_an_ack_is_remembered_and_only_grows(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(f"{V2}&channel={NAME}") as socket:
        received_of_type(socket, "subscribed")
        ids = []
        for number in range(3):
            publish(clean_redis, anonymous_channel(NAME), completed(str(number)))
            ids.append(received(socket)["id"])
        ask(socket, type="ack", channel=NAME, id=ids[1])
        ask(socket, type="ack", channel=NAME, id=ids[0])
        ask(socket, type="ack", channel=NAME, id=ids[0].split(".")[0] + ".99")
        ask(socket, type="ping")
        received_of_type(socket, "pong")
    with hub.connect(f"{V2}&channel={NAME}") as socket:
        assert received_of_type(socket, "subscribed")["seen"] == ids[1]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "subscribe"},
        {"type": "subscribe", "channel": 5},
        {"type": "subscribe", "channel": "short"},
        {"type": "subscribe", "channel": "user.bob"},
        {"type": "subscribe", "channel": NAME, "since": "rubbish"},
        {"type": "ack", "channel": NAME, "id": "e.1"},
        {"type": "nonsense"},
    ],
)
def test_what_cannot_be_is_answered_and_the_socket_stays(
    message: dict[str, Any], hub: RunningHub
) -> None:
    with hub.connect(f"{V2}&token={hub.token('alice')}") as socket:
        received_of_type(socket, "subscribed")
        assert answered(socket, **message)["type"] == "error"
        assert answered(socket, type="ping") == {"type": "pong"}


def test_ten_thousand_subscriptions_on_one_socket_end_it_and_nobody_else_notices(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.connect(V2) as greedy, hub.connect(f"{V2}&channel={NAME}") as other:
        received_of_type(other, "subscribed")
        with contextlib.suppress(Exception):
            for number in range(10_000):
                ask(greedy, type="subscribe", channel=f"a-channel-too-many-{number:05}")
        code, reason = closed_with(greedy)
        assert (code, "messages a second" in reason) == (1013, True)
        publish(clean_redis, anonymous_channel(NAME), completed("x"))
        assert "x" in received_of_type(other, "data")["data"]
    wait_until(
        lambda: len(clean_redis.pubsub_channels("ws_hub:anon.*")) == 0, within=5, what="all left"
    )


def test_channels_over_the_limit_are_refused(start_hub: StartHub) -> None:
    hub = start_hub(hub_channels_per_connection=3)
    with hub.connect(V2) as socket:
        received(socket)
        for number in range(3):
            name = f"one-of-few-channels-{number}"
            assert answered(socket, type="subscribe", channel=name)["type"] == "subscribed"
        assert answered(socket, type="subscribe", channel=NAME)["detail"].endswith("3 channels")


def test_connections_of_one_user_and_one_address_are_limited(start_hub: StartHub) -> None:
    hub = start_hub(hub_connections_per_user=2, hub_connections_per_address=4)
    alice = f"{V2}&token={hub.token('alice')}"
    with contextlib.ExitStack() as stack:
        for query in (alice, alice, f"{V2}&token={hub.token('bob')}"):
            received_of_type(stack.enter_context(hub.connect(query)), "subscribed")
        with hub.connect(alice) as third:
            code, reason = closed_with(third)
            assert (code, "user" in reason) == (1013, True)
        late = stack.enter_context(hub.connect(V2))
        received(late)
        with hub.connect(V2) as fifth:
            code, reason = closed_with(fifth)
            assert (code, "address" in reason) == (1013, True)
        ask(late, type="auth", token=hub.token("alice"))
        assert closed_with(late)[0] == 1013
    # All of them have been given back.
    wait_until(
        lambda: not hub.hub._connections._users and not hub.hub._connections._addresses,
        within=5, what="nobody is counted",
    )  # fmt: skip


def test_a_frame_of_a_megabyte_ends_its_socket_alone(start_hub: StartHub) -> None:
    hub = start_hub(server={"ws_max_size": 65_536})
    with hub.connect(f"{V2}&channel={NAME}") as large, hub.connect(f"{V2}&channel={NAME}") as other:
        received_of_type(other, "subscribed")
        with contextlib.suppress(Exception):
            large.send("x" * 1_000_000)
        assert closed_with(large)[0] == 1009
        assert answered(other, type="ping") == {"type": "pong"}


def test_a_half_open_socket_is_reaped(start_hub: StartHub, clean_redis: Redis) -> None:
    hub = start_hub(server={"ws_ping_interval": 0.3, "ws_ping_timeout": 0.3})
    with sockets.create_connection(("127.0.0.1", hub.port)) as dead:
        dead.sendall(
            f"GET /ws?{V2}&channel={NAME} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        # It reads nothing and answers no ping, as a laptop whose lid was closed.
        wait_until(
            lambda: clean_redis.pubsub_channels("ws_hub:anon.*"), within=5, what="it is served"
        )
        wait_until(
            lambda: not clean_redis.pubsub_channels("ws_hub:anon.*"), within=10, what="it is gone"
        )


def test_sockets_are_asked_to_come_back_spread(start_hub: StartHub) -> None:
    hub = start_hub(hub_reconnects_per_second=0.5)
    with hub.connect(f"{V2}&channel={NAME}") as socket:
        received_of_type(socket, "subscribed")
        hub.stop_hub_only()
        assert closed_with(socket) == (1012, "the server restarts, reconnect within 2 s")
