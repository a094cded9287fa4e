"""What was published while a client was away comes when it is back: all of it, once, in order."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.ws_hub.conftest import StartHub
from tests.support.cutting_proxy import CuttingProxy
from tests.support.hub_client import NumberedClient
from tests.support.hub_server import NAME, RunningHub, received, received_of_type
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from ws_hub import HistoryLimits, anonymous_channel, completed, publish
from ws_hub.history import history_keys

Redis = redis.Redis
V2 = f"protocol=2&channel={NAME}"
CHANNEL = anonymous_channel(NAME)


def say(client: Redis, text: str, limits: HistoryLimits | None = None) -> int:
    return publish(client, CHANNEL, {"type": "data", "data": text}, limits=limits)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, keeps=True) as server:
        yield server


def test_a_new_client_is_told_where_it_is_and_has_nothing_to_recover(
    hub: RunningHub, clean_redis: Redis
) -> None:
    say(clean_redis, "before")
    with hub.connect(V2) as socket:
        welcome = received(socket)
        assert welcome["type"] == "welcome"
        assert welcome["protocol"] == 2
        assert welcome["user"] is None
        joined = received(socket)
        assert joined == {
            "type": "subscribed", "channel": NAME, "id": joined["id"],
            "recovered": None, "seen": None,
        }  # fmt: skip
        assert joined["id"].endswith(".1")
        say(clean_redis, "after")
        told = received(socket)
        assert told == {
            "type": "data", "channel": NAME, "id": joined["id"][:-1] + "2", "data": "after",
        }  # fmt: skip


def test_what_came_while_away_comes_first_then_what_is_live(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.connect(V2) as socket:
        last = received_of_type(socket, "subscribed")["id"]
    for number in range(200):
        say(clean_redis, str(number))
    with hub.connect(f"{V2}&since={last}") as socket:
        received(socket)
        assert [received(socket)["data"] for _ in range(200)] == [str(n) for n in range(200)]
        assert received(socket)["recovered"] is True
        say(clean_redis, "live")
        assert received(socket)["data"] == "live"


def test_a_gap_is_said_and_what_is_still_there_is_sent(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(V2) as socket:
        last = received_of_type(socket, "subscribed")["id"]
    for number in range(10):
        say(clean_redis, str(number), HistoryLimits(messages=3))
    with hub.connect(f"{V2}&since={last}") as socket:
        received(socket)
        assert [received(socket)["data"] for _ in range(3)] == ["7", "8", "9"]
        assert received(socket)["recovered"] is False


@pytest.mark.parametrize("lost", ["all", "stream"])
def test_history_that_redis_lost_is_a_gap(lost: str, hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(V2) as socket:
        last = received_of_type(socket, "subscribed")["id"]
    say(clean_redis, "gone")
    clean_redis.delete(*history_keys(CHANNEL)[: 2 if lost == "all" else 1])
    with hub.connect(f"{V2}&since={last}") as socket:
        assert received_of_type(socket, "subscribed")["recovered"] is False
        say(clean_redis, "next")
        assert received(socket)["data"] == "next"


def test_a_redis_that_came_back_with_less_does_not_silence_a_channel(
    hub: RunningHub, clean_redis: Redis
) -> None:
    for number in range(5):
        say(clean_redis, str(number))
    with hub.connect(V2) as socket:
        last = received_of_type(socket, "subscribed")["id"]
    clean_redis.hset(history_keys(CHANNEL)[1], "o", 2)
    clean_redis.delete(history_keys(CHANNEL)[0])
    with hub.connect(f"{V2}&since={last}") as socket:
        assert received_of_type(socket, "subscribed")["recovered"] is False
        say(clean_redis, "third again")
        assert received(socket)["data"] == "third again"


def test_history_ends_by_time(hub: RunningHub, clean_redis: Redis) -> None:
    say(clean_redis, "x", HistoryLimits(seconds=100))
    stream, meta = history_keys(CHANNEL)
    assert 90 < clean_redis.ttl(stream) <= 100
    assert clean_redis.ttl(meta) > 200


def test_a_publication_that_is_sent_again_counts_once(hub: RunningHub, clean_redis: Redis) -> None:
    with hub.connect(V2) as socket:
        received_of_type(socket, "subscribed")
        assert publish(clean_redis, CHANNEL, completed("once"), once="job-1") == 1
        assert publish(clean_redis, CHANNEL, completed("once"), once="job-1") == 0
        say(clean_redis, "next")
        assert "once" in received(socket)["data"]
        assert received(socket)["data"] == "next"


def test_what_some_other_program_publishes_comes_without_an_id(
    hub: RunningHub, clean_redis: Redis
) -> None:
    with hub.connect(V2) as socket:
        received_of_type(socket, "subscribed")
        clean_redis.publish(f"ws_hub:{CHANNEL}", '{"type":"data","data":"plain"}')
        assert received(socket) == {"type": "data", "channel": NAME, "data": "plain"}


def test_a_lost_connection_to_redis_is_recovered_without_a_reconnect(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    with hub.connect(V2) as socket, redis.Redis(port=own_redis.port) as client:
        received_of_type(socket, "subscribed")
        for round_ in range(20):
            assert client.client_kill_filter(_type="pubsub", skipme=True) == 1
            for part in range(3):
                say(client, f"{round_}.{part}")
            assert [received_of_type(socket, "data")["data"] for _ in range(3)] == [
                f"{round_}.{part}" for part in range(3)
            ]
            wait_until(lambda: client.client_list(_type="pubsub"), within=5, what="the hub is back")


def test_what_was_published_before_a_restart_of_redis_is_not_lost(
    start_hub: StartHub, own_redis: RedisServer
) -> None:
    hub = start_hub(redis_url=own_redis.url)
    with hub.connect(V2) as socket, redis.Redis(port=own_redis.port) as client:
        first = received_of_type(socket, "subscribed")["id"]
        say(client, "before")
        assert received(socket)["data"] == "before"
        own_redis.stop()
        own_redis.start()
        say(client, "after")
        assert received_of_type(socket, "data")["data"] == "after"
    with hub.connect(f"{V2}&since={first}") as socket:
        assert received_of_type(socket, "data")["data"] == "before"
        assert received(socket)["data"] == "after"


def cut_again_and_again(hub: RunningHub, client: Redis, *, seed: int, cuts: int) -> None:
    """Publishes until a client behind a cutting proxy was cut `cuts` times, then compares."""
    with CuttingProxy(hub.port, seed, most_bytes=3000) as proxy:
        listening = NumberedClient(f"ws://127.0.0.1:{proxy.port}/ws", NAME)
        sent: list[str] = []
        failed: list[BaseException] = []

        def listen() -> None:
            try:
                listening.listen("the end", within=60 + cuts * 0.5)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        wait_until(lambda: listening.last, within=30, what="the client has joined")
        for number in itertools.count():
            if proxy.cuts >= cuts or failed:
                break
            text = f"{number} " + "x" * (number * 37 % 200)
            _publish_until_taken(client, text)
            sent.append(text)
            # As fast as the client comes back, so that history is not outrun.
            deadline = time.monotonic() + 20
            while len(sent) - len(listening.heard) > 100 and time.monotonic() < deadline:
                time.sleep(0.002)
        proxy.calm = True
        _publish_until_taken(client, "the end")
        thread.join(90)
        assert not failed, failed
        assert listening.heard == [*sent, "the end"]
        assert listening.gaps == 0
        assert proxy.cuts >= cuts


def _publish_until_taken(client: Redis, text: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            publish(client, CHANNEL, {"type": "data", "data": text}, once=text[:20])
            return
        assert time.monotonic() < deadline, "Redis takes nothing"
        time.sleep(0.05)


def test_every_message_arrives_once_through_random_cuts(
    hub: RunningHub, clean_redis: Redis
) -> None:
    cut_again_and_again(hub, clean_redis, seed=1, cuts=100)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 5))
def test_every_message_arrives_once_through_a_thousand_cuts(
    seed: int, hub: RunningHub, clean_redis: Redis
) -> None:
    cut_again_and_again(hub, clean_redis, seed=seed, cuts=1000)


def _restarts(what: str, start_hub: StartHub, server: RedisServer, times: int) -> None:
    """The client listens through restarts of the hub or of Redis while messages are published."""
    hub = start_hub(redis_url=server.url)
    with redis.Redis(port=server.port) as client:
        listening = NumberedClient(f"ws://127.0.0.1:{hub.port}/ws", NAME)
        failed: list[BaseException] = []

        def listen() -> None:
            try:
                listening.listen("the end", within=120)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        wait_until(lambda: listening.last, within=30, what="the client has joined")
        sent = []
        for round_ in range(times):
            for part in range(10):
                sent.append(f"{round_}.{part} ")
                _publish_until_taken(client, sent[-1])
                if part == 5 and what == "hub":
                    hub.stop()
                elif part == 5:
                    server.stop()
                    server.start()
            if what == "hub":
                hub = start_hub(redis_url=server.url, port=hub.port)
        _publish_until_taken(client, "the end")
        thread.join(125)
        assert not failed, failed
        assert listening.heard == [*sent, "the end"]
        assert listening.gaps == 0


@pytest.mark.parametrize("what", ["hub", "redis"])
def test_nothing_is_lost_or_doubled_through_restarts(
    what: str, start_hub: StartHub, own_redis: RedisServer
) -> None:
    _restarts(what, start_hub, own_redis, times=3)
