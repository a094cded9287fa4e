"""The hub on a real Redis Cluster: sharded pub/sub, slots that move, a master that dies."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisClusterException, RedisError

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_client import NumberedClient
from tests.support.hub_server import RunningHub, closed_with, received
from tests.support.redis_sets import RedisCluster, need_redis_7
from tests.support.waiting import wait_until
from ws_hub import anonymous_channel, connect, publish, redis_channel, revoke

NAMES = [f"a-channel-in-some-slot-{number:02}" for number in range(12)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    need_redis_7()
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def client(cluster: RedisCluster) -> Iterator[Any]:
    with connect(cluster.url, socket_timeout=2) as made:
        yield made


@pytest.fixture
def hub(start_hub: StartHub, cluster: RedisCluster) -> RunningHub:
    return start_hub(redis_url=cluster.url)


def say(client: Any, name: str, text: str) -> bool:
    try:
        publish(client, anonymous_channel(name), {"type": "data", "data": text}, once=text)
    except (RedisError, RedisClusterException):
        return False
    return True


def key_of(name: str) -> str:
    return redis_channel(anonymous_channel(name))


def listening_to(hub: RunningHub, name: str) -> tuple[NumberedClient, threading.Thread]:
    listener = NumberedClient(
        # A failover takes as long as it takes.
        f"ws://127.0.0.1:{hub.port}/ws",
        name,
        silence=30,
    )
    thread = threading.Thread(target=listener.listen, args=("end", 60))
    thread.start()
    wait_until(lambda: listener.joined, within=15, what=f"{name} is heard")
    return listener, thread


def test_a_process_has_one_connection_to_each_shard_however_many_channels(
    hub: RunningHub, cluster: RedisCluster, client: Any
) -> None:
    query = "&".join(f"channel={name}" for name in NAMES)
    with hub.connect(f"protocol=2&{query}") as socket:
        assert received(socket)["type"] == "welcome"
        assert {received(socket)["channel"] for _ in NAMES} == set(NAMES)
        assert len({cluster.node_of(key_of(name)) for name in NAMES}) == 3
        for port in cluster.masters:
            [connection] = cluster.client(port).client_list(_type="pubsub")
            assert int(connection["ssub"]) > 0
        for name in NAMES:
            assert say(client, name, f"to {name}")
        heard = [received(socket) for _ in NAMES]
        assert {message["data"] for message in heard} == {f"to {name}" for name in NAMES}
        assert all(message["id"].endswith(".1") for message in heard)


def test_a_revocation_reaches_every_hub(hub: RunningHub, client: Any) -> None:
    with hub.subscribed(f"token={hub.token('ann')}") as socket:
        revoke(client, user="ann")
        assert closed_with(socket)[0] == 1008


def test_nothing_is_missed_when_a_slot_moves(
    hub: RunningHub, cluster: RedisCluster, client: Any
) -> None:
    name = "this-one-moves-to-another-shard"
    listener, thread = listening_to(hub, name)
    for number in range(60):
        if number in (20, 40):
            cluster.move_slot_of(key_of(name))
        wait_until(partial(say, client, name, str(number)), within=10, what="published")
    wait_until(lambda: say(client, name, "end"), within=10, what="published")
    thread.join(60)
    assert listener.heard == [*map(str, range(60)), "end"]
    assert (listener.gaps, listener.reconnects) == (0, 0)
    holder = cluster.client(cluster.node_of(key_of(name)))
    wait_until(
        lambda: holder.pubsub_shardnumsub(key_of(name))[0][1] == 0,
        within=10,
        what="Redis was told, where the channel is now, that nobody listens any more",
    )


def test_a_master_that_dies_is_noticed_by_its_own_channels_alone(
    start_hub: StartHub, tmp_path: Path
) -> None:
    need_redis_7()
    with RedisCluster(tmp_path) as cluster, connect(cluster.url, socket_timeout=2) as client:
        hub = start_hub(redis_url=cluster.url)
        dying = cluster.masters[0]
        of_it = next(name for name in NAMES if cluster.node_of(key_of(name)) == dying)
        other = next(name for name in NAMES if cluster.node_of(key_of(name)) != dying)
        listener, thread = listening_to(hub, of_it)
        with hub.connect(f"protocol=2&channel={other}") as socket:
            assert [received(socket)["type"] for _ in range(2)] == ["welcome", "subscribed"]
            assert say(client, of_it, "1")
            assert cluster.client(dying).wait(1, 5000) == 1
            wait_until(lambda: listener.heard == ["1"], within=10, what="heard before the end")
            failing_over = threading.Thread(target=cluster.fail_over)
            failing_over.start()
            # Somebody who comes back to the shard that is away, with a history to read.
            waiting = hub.connect(f"protocol=2&channel={of_it}&since={listener.last}")
            heard = 0
            while failing_over.is_alive():
                heard += 1
                assert say(client, other, str(heard))
                # Nothing but the message: the channel was not even subscribed anew.
                message = received(socket)
                assert (message["type"], message["data"]) == ("data", str(heard))
                with hub.connect(f"protocol=2&channel={other}") as late:
                    assert [received(late)["type"] for _ in range(2)] == ["welcome", "subscribed"]
            failing_over.join()
            assert heard > 5, "who comes to another shard waits for the one that is away"
            with waiting:
                assert [received(waiting)["type"] for _ in range(2)] == ["welcome", "subscribed"]
        wait_until(lambda: say(client, of_it, "2"), within=20, what="published to the new master")
        wait_until(lambda: say(client, of_it, "end"), within=20, what="published the end")
        thread.join(60)
        assert listener.heard == ["1", "2", "end"]
        assert (listener.gaps, listener.reconnects) == (0, 0)
