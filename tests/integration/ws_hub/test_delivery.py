"""What is published reaches whom it is for, and nobody else."""

import asyncio
import contextlib
import threading

import pytest
import redis
import redis.asyncio

from tests.support.hub_server import NAME, RunningHub, pubsub_connections, received
from tests.support.waiting import wait_until
from ws_hub import anonymous_channel, completed, publish, publish_async, redis_channel, user_channel
from ws_hub.protocol import encode

Redis = redis.Redis


def test_an_anonymous_socket_hears_that_its_task_has_completed(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.connect() as socket:
        assert received(socket) == {"type": "subscribed", "channel": NAME}
        assert publish(clean_redis, anonymous_channel(NAME), completed("0b5c")) == 1
        assert received(socket) == {
            "type": "data",
            "data": '{"task_id": "0b5c", "status": "completed", "action": "async_request"}',
        }


def test_a_user_hears_their_own_channel_on_every_socket_and_nobody_else_s(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with (
        hub.subscribed(f"token={hub.token('alice')}") as first,
        hub.subscribed(f"token={hub.token('alice')}") as second,
        hub.subscribed(f"token={hub.token('bob')}") as other,
    ):
        publish(clean_redis, user_channel("alice"), completed("for-alice"))
        publish(clean_redis, user_channel("bob"), completed("for-bob"))
        assert "for-alice" in received(first)["data"]
        assert "for-alice" in received(second)["data"]
        assert "for-bob" in received(other)["data"]


def test_an_anonymous_caller_cannot_listen_to_a_user_by_name(
    hub: RunningHub, clean_redis: Redis
) -> None:
    sub = "a-user-with-a-long-name"
    with hub.subscribed(f"channel={sub}") as eavesdropper:
        assert publish(clean_redis, user_channel(sub), completed("secret")) == 0
        publish(clean_redis, anonymous_channel(sub), completed("mine"))
        assert "mine" in received(eavesdropper)["data"]


def test_nothing_published_after_subscribed_is_missed(hub: RunningHub, clean_redis: Redis) -> None:
    for round_ in range(100):
        name = f"a-channel-of-its-own-{round_:04}"
        with hub.subscribed(f"channel={name}") as socket:
            # The publisher sees it at once: Redis has the subscription.
            assert publish(clean_redis, anonymous_channel(name), completed("now")) == 1
            assert "now" in received(socket)["data"]


def test_a_client_that_leaves_and_returns_at_once_misses_nothing(
    hub: RunningHub, clean_redis: Redis
) -> None:
    # The unsubscribe of the socket that leaves crosses the subscribe of the one that comes.
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(hub.subscribed())
        for round_ in range(100):
            leaving = threading.Thread(target=before.close)
            leaving.start()
            after = stack.enter_context(hub.subscribed())
            publish(clean_redis, anonymous_channel(NAME), completed(f"round-{round_}"))
            assert f"round-{round_}" in received(after)["data"]
            leaving.join()
            before = after


def test_messages_arrive_in_the_order_they_were_published(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.subscribed() as socket:
        pipeline = clean_redis.pipeline(transaction=False)
        for number in range(2000):
            message = encode({"type": "data", "data": str(number)})
            pipeline.publish(redis_channel(anonymous_channel(NAME)), message)
        pipeline.execute()
        assert [received(socket)["data"] for _ in range(2000)] == [str(n) for n in range(2000)]


def test_many_sockets_share_one_connection_to_redis(hub: RunningHub, clean_redis: Redis) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(hub.subscribed(f"channel=one-of-many-sockets-{number:04}"))
            for number in range(100)
        ]
        assert pubsub_connections(clean_redis) == 1
        for number, socket in enumerate(sockets):
            channel = anonymous_channel(f"one-of-many-sockets-{number:04}")
            publish(clean_redis, channel, completed(f"task-{number}"))
            assert f'"task-{number}"' in received(socket)["data"]


def test_a_channel_is_left_with_its_last_socket(hub: RunningHub, clean_redis: Redis) -> None:
    name = redis_channel(anonymous_channel(NAME))

    def subscribers() -> int:
        [(_, count)] = clean_redis.pubsub_numsub(name)
        return int(count)

    with hub.subscribed() as stays:
        with hub.subscribed():
            assert subscribers() == 1
        publish(clean_redis, anonymous_channel(NAME), completed("still-there"))
        assert "still-there" in received(stays)["data"]
        assert subscribers() == 1
    wait_until(lambda: subscribers() == 0, within=5, what="the channel is left")


def test_what_another_program_publishes_disturbs_nobody(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.subscribed() as socket:
        for garbage in (b"\xff\xfe", b"", b"hello", b"[]", b"[" * 100_000):
            clean_redis.publish(redis_channel(anonymous_channel(NAME)), garbage)
        publish(clean_redis, anonymous_channel(NAME), completed("after-the-garbage"))
        assert "after-the-garbage" in received(socket)["data"]


@pytest.mark.parametrize("sub", ["alice@example.com", "a b*[c]?", "Zoë", "auth0|5f", "user.user."])
def test_a_sub_of_any_characters_is_a_channel(
    sub: str, hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.subscribed(f"token={hub.token(sub)}") as socket:
        assert publish(clean_redis, user_channel(sub), completed("x")) == 1
        assert received(socket)["type"] == "data"


def test_asyncio_programs_publish_too(hub: RunningHub, redis_url: str) -> None:
    async def publishing() -> int:
        async with redis.asyncio.from_url(redis_url) as client:
            return await publish_async(client, anonymous_channel(NAME), completed("async"))

    with hub.subscribed() as socket:
        assert asyncio.run(publishing()) == 1
        assert "async" in received(socket)["data"]
