"""The hub on a real set of Redis servers that Sentinel watches: its master dies in the middle."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_client import NumberedClient
from tests.support.hub_server import NAME
from tests.support.redis_sets import SentinelSet, need_redis_7
from tests.support.waiting import wait_until
from ws_hub import anonymous_channel, connect, publish

CHANNEL = anonymous_channel(NAME)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[SentinelSet]:
    need_redis_7()
    with SentinelSet(tmp_path) as servers:
        yield servers


def test_each_message_comes_once_though_the_master_died(
    start_hub: StartHub, watched: SentinelSet
) -> None:
    hub = start_hub(redis_url=watched.url)
    listener = NumberedClient(f"ws://127.0.0.1:{hub.port}/ws", NAME, silence=30)
    listening = threading.Thread(target=listener.listen, args=("end", 60))
    listening.start()
    wait_until(lambda: listener.joined, within=15, what="the client hears the channel")
    with connect(watched.url, socket_timeout=2) as client:

        def say(text: str) -> bool:
            # As a worker does: again, under one name, until Redis has it.
            try:
                publish(client, CHANNEL, {"type": "data", "data": text}, once=text)
                # What one server alone has is gone with it.
                return bool(client.wait(2 if text < "2" else 1, 1000))
            except RedisError:
                return False

        for number in range(10):
            wait_until(partial(say, f"1-{number}"), within=10, what="published")
        wait_until(lambda: listener.heard[-1:] == ["1-9"], within=10, what="heard before the end")
        watched.fail_over()
        for number in range(10):
            wait_until(partial(say, f"2-{number}"), within=30, what="published again")
        wait_until(lambda: say("end"), within=10, what="published the end")
    listening.join(60)
    assert listener.heard == [*(f"1-{n}" for n in range(10)), *(f"2-{n}" for n in range(10)), "end"]
    assert listener.gaps == 0
    assert listener.reconnects == 0, "the socket was closed"
