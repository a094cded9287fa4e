"""Server-sent events and long-poll: the same channels and history, over plain HTTP."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from typing import Any

import httpx
import pytest
import redis

from tests.integration.ws_hub.conftest import StartHub
from tests.support.hub_server import NAME, SECRET, RunningHub
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from ws_hub import anonymous_channel, completed, publish, revoke, user_channel

Redis = redis.Redis
OTHER = "another-channel-of-a-test"
Event = dict[str, Any]


def events_of(response: httpx.Response) -> Iterator[Event]:
    event: Event = {}
    for line in response.iter_lines():
        if not line:
            if event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


@contextmanager
def stream(hub: RunningHub, query: str, **headers: str) -> Iterator[Iterator[Event]]:
    url = f"http://127.0.0.1:{hub.port}/events?{query}"
    with httpx.stream("GET", url, headers=headers, timeout=10) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events_of(response)


def poll(hub: RunningHub, query: str, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{hub.port}/events/poll?{query}"
    return httpx.get(url, headers=headers, timeout=20)


def say(client: Redis, text: str, name: str = NAME) -> None:
    publish(client, anonymous_channel(name), {"type": "data", "data": text})


def test_a_stream_goes_on_where_the_last_one_ended(hub: RunningHub, clean_redis: Redis) -> None:
    with stream(hub, f"channel={NAME}") as events:
        assert next(events)["event"] == "welcome"
        assert next(events)["event"] == "subscribed"
        say(clean_redis, "first")
        event = next(events)
        assert (event["event"], event["data"]["data"]) == ("data", "first")
        assert event["id"] == event["data"]["id"]
    say(clean_redis, "second")
    with stream(hub, f"channel={NAME}", **{"Last-Event-ID": event["id"]}) as events:
        _, second, joined = itertools.islice(events, 3)
        assert second["data"]["data"] == "second"
        assert joined["data"]["recovered"] is True
        say(clean_redis, "live")
        assert next(events)["data"]["data"] == "live"


def test_several_channels_in_one_stream_go_on_each_by_itself(
    hub: RunningHub, clean_redis: Redis
) -> None:
    query = f"channel={NAME}&channel={OTHER}"
    with stream(hub, query) as events:
        list(itertools.islice(events, 3))
        say(clean_redis, "1")
        say(clean_redis, "2", OTHER)
        last = [event["id"] for event in itertools.islice(events, 2)][-1]
    say(clean_redis, "3", OTHER)
    say(clean_redis, "4")
    with stream(hub, query, **{"Last-Event-ID": last}) as events:
        came = [next(events) for _ in range(5)]
    assert {e["data"]["data"] for e in came if e["event"] == "data"} == {"3", "4"}


def test_a_user_s_stream_is_theirs_by_the_header(hub: RunningHub, clean_redis: Redis) -> None:
    with stream(hub, "", Authorization=f"Bearer {hub.token('carol')}") as events:
        list(itertools.islice(events, 2))
        publish(clean_redis, user_channel("bob"), completed("bob's"))
        publish(clean_redis, user_channel("carol"), completed("hers"))
        assert "hers" in next(events)["data"]["data"]
        revoke(clean_redis, user="carol")
        ended = next(events)
        assert (ended["event"], ended["data"]["code"]) == ("error", 1008)
        assert next(events, None) is None


def test_a_stream_ends_with_its_token(hub: RunningHub) -> None:
    with stream(hub, f"token={hub.token('alice', 1.5)}") as events:
        assert list(events)[-1]["data"]["detail"] == "the token has expired"


def test_a_quiet_stream_beats_and_one_that_is_left_is_forgotten(
    start_hub: StartHub, clean_redis: Redis
) -> None:
    hub = start_hub(hub_ping_interval_seconds=0.1)
    url = f"http://127.0.0.1:{hub.port}/events?channel={NAME}"
    with httpx.stream("GET", url, timeout=10) as response:
        assert next(line for line in response.iter_lines() if line.startswith(":"))
    wait_until(
        lambda: not clean_redis.pubsub_channels("ws_hub:anon.*"), within=5, what="nobody listens"
    )
    wait_until(lambda: not hub.hub._connections._addresses, within=5, what="nobody is counted")


def test_a_poll_gives_a_place_at_once_then_what_came_since(
    hub: RunningHub, clean_redis: Redis
) -> None:
    first = poll(hub, f"channel={NAME}&wait=20").json()
    assert first["messages"] == []
    assert first["recovered"] is None
    say(clean_redis, "1")
    say(clean_redis, "2")
    then = poll(hub, f"channel={NAME}&wait=20&since={first['id']}").json()
    assert [one["data"] for one in then["messages"]] == ["1", "2"]
    assert then["recovered"] is True
    assert then["id"] == then["messages"][-1]["id"]
    assert poll(hub, f"channel={NAME}&wait=0.2&since={then['id']}").json()["messages"] == []


def test_a_poll_that_waits_is_answered_by_the_next_message(
    hub: RunningHub, clean_redis: Redis
) -> None:
    since = poll(hub, f"channel={NAME}").json()["id"]

    def later() -> None:
        wait_until(lambda: clean_redis.pubsub_channels("ws_hub:anon.*"), within=10, what="it waits")
        say(clean_redis, "now")

    thread = threading.Thread(target=later)
    thread.start()
    began = time.monotonic()
    assert poll(hub, f"channel={NAME}&wait=15&since={since}").json()["messages"][0]["data"] == "now"
    assert time.monotonic() - began < 12
    thread.join()


def test_a_poll_says_a_gap(hub: RunningHub, clean_redis: Redis) -> None:
    say(clean_redis, "1")
    answer = poll(hub, f"channel={NAME}&since=otherepoch.4&wait=5").json()
    assert answer["recovered"] is False
    assert [one["data"] for one in answer["messages"]] == ["1"]


@pytest.mark.parametrize("path", ["/events", "/events/poll"])
@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 403),
        ("token=rubbish", {}, 401),
        ("", {"Authorization": "Bearer rubbish"}, 401),
        ("channel=short", {}, 400),
        ("channel=user", {}, 403),
        (f"channel={NAME}&since=rubbish", {}, 400),
        (f"channel={NAME}&channel={OTHER}&since=e.1", {}, 400),
        (f"channel={NAME}", {"Origin": "https://evil.example"}, 403),
    ],
)
def test_what_is_refused_says_why(
    path: str, query: str, headers: dict[str, str], status: int, hub: RunningHub
) -> None:
    answer = httpx.get(f"http://127.0.0.1:{hub.port}{path}?{query}", headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers


def test_a_named_origin_s_pages_may_read(start_hub: StartHub) -> None:
    hub = start_hub(hub_allowed_origins="https://shop.example")
    origin = {"Origin": "https://shop.example"}
    url = f"http://127.0.0.1:{hub.port}/events/poll"
    answers = [
        httpx.options(url, headers={**origin, "Access-Control-Request-Headers": "authorization"}),
        httpx.get(f"{url}?channel={NAME}", headers=origin),
        httpx.get(f"{url}?token=rubbish", headers=origin),
    ]
    assert [one.status_code for one in answers] == [204, 200, 401]
    assert {one.headers["access-control-allow-origin"] for one in answers} == {origin["Origin"]}
    assert "Authorization" in answers[0].headers["access-control-allow-headers"]


def test_a_server_that_stops_ends_its_streams_and_tells_its_sockets_why(redis_url: str) -> None:
    port = free_port()
    env = environ | {"REDIS_URL": redis_url, "SECRET_KEY": SECRET}
    command = [sys.executable, "-m", "uvicorn", "ws_hub.main:app", "--port", str(port)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}"

        def up() -> bool:
            try:
                return httpx.get(f"{base}/livez").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(up, within=30, what="the hub is up")
        with httpx.stream("GET", f"{base}/events?channel={NAME}", timeout=15) as response:
            events = events_of(response)
            assert next(events)["event"] == "welcome"
            process.send_signal(signal.SIGTERM)
            assert list(events)[-1]["data"]["code"] == 1012
        assert process.wait(10) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
