"""Waiting for an answer: by long poll, and directly with `Prefer: wait=N`."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient

from respond_async import Settings
from tests.support.shop.client import ANONYMOUS, Shop
from tests.support.shop.main import create_app

PATH = "/api/v1/async_background_response"

pytestmark = pytest.mark.usefixtures("worker")


def test_a_long_poll_ends_with_the_request(client: TestClient, store: "redis.Redis") -> None:
    task_id = Shop(client).accepted("GET", "/sleep?seconds=1&name=long-poll")
    asked = dict(store.info("commandstats"))
    begun = time.monotonic()
    answer = client.get(f"{PATH}/{task_id}/?wait=30", headers=ANONYMOUS)
    assert time.monotonic() - begun < 10
    assert (answer.status_code, answer.json()["response"]) == (200, "long-poll")
    # Woken, not asked for again and again: it looks at most at the beginning, once nothing can
    # be missed, and after the news.
    looked = store.info("commandstats")["cmdstat_mget"]["calls"]
    assert looked - asked.get("cmdstat_mget", {"calls": 0})["calls"] <= 4


@pytest.mark.parametrize("wait", ["0.2", "000000.2"])
def test_a_long_poll_ends_with_its_time(client: TestClient, wait: str) -> None:
    task_id = Shop(client).accepted("GET", "/sleep?seconds=1.5&name=too-long")
    answer = client.get(f"{PATH}/{task_id}?wait={wait}", headers=ANONYMOUS)
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["x-async-status"] == "pending"
    assert Shop(client).result(task_id)["response"] == "too-long"


def test_many_wait_for_one_and_for_several(client: TestClient) -> None:
    shop = Shop(client)
    ids = [shop.accepted("GET", f"/sleep?seconds=1&name=n{n}") for n in range(4)]

    def ask(task_id: str) -> Any:
        return client.get(f"{PATH}/{task_id}/?wait=20", headers=ANONYMOUS).json()["response"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, ids * 2)) == [f"n{n}" for n in range(4)] * 2


def test_nobody_waits_longer_than_the_setting_allows(settings: Settings, celery: Celery) -> None:
    changed = settings.model_copy(update={"long_poll_max_seconds": 0.2, "kafka_topic": "nobody"})
    with TestClient(create_app(changed, celery)) as client:
        task_id = Shop(client).accepted("GET", "/maybe")
        begun = time.monotonic()
        for url, headers in (
            (f"{PATH}/{task_id}/?wait=60", ANONYMOUS),
            (f"{PATH}/{task_id}/raw", {**ANONYMOUS, "Prefer": "wait=60"}),
            ("/maybe", {**ANONYMOUS, "Prefer": "respond-async, wait=60"}),
        ):
            assert client.get(url, headers=headers).status_code == 202
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize("wait", ["", "x", "-1", "1e3", "inf", "٣", "9" * 5000])
def test_a_wait_that_is_no_number_is_a_problem(client: TestClient, wait: str) -> None:
    task_id = Shop(client).accepted("GET", "/maybe")
    answer = client.get(f"{PATH}/{task_id}/", params={"wait": wait}, headers=ANONYMOUS)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_raw_answer_is_the_one_that_the_endpoint_gave(client: TestClient) -> None:
    for path in ("json", "problem", "latin", "png", "untyped", "repeated", "large-json"):
        direct = client.get(f"/answers/{path}", headers={"Accept-Encoding": "identity"})
        headers = {**ANONYMOUS, "Accept-Encoding": "identity"}
        task_id = Shop(client).accepted("GET", f"/answers/{path}", headers=headers)
        raw = client.get(f"{PATH}/{task_id}/raw?wait=20", headers=ANONYMOUS)
        assert raw.status_code == direct.status_code
        assert raw.content == direct.content
        assert raw.headers.raw == direct.headers.raw


def test_the_raw_answer_keeps_its_coding_and_has_the_length_that_follows(
    client: TestClient,
) -> None:
    zipped = Shop(client).accepted(
        "GET", "/answers/large-json", headers={**ANONYMOUS, "Accept-Encoding": "gzip"}
    )
    raw = client.get(f"{PATH}/{zipped}/raw?wait=20", headers=ANONYMOUS)
    assert raw.headers["content-encoding"] == "gzip"
    assert len(raw.json()["rows"]) == 2000
    headless = Shop(client).accepted("HEAD", "/head")
    raw = client.get(f"{PATH}/{headless}/raw?wait=20", headers=ANONYMOUS)
    assert (raw.status_code, raw.headers["content-length"], raw.content) == (200, "0", b"")
    large = Shop(client).accepted(
        "POST", "/echo/large", content=b"x" * 400_000, headers={"Accept-Encoding": "identity"}
    )
    raw = client.get(f"{PATH}/{large}/raw?wait=20", headers=ANONYMOUS)
    assert len(raw.content) == int(raw.headers["content-length"]) > 100_000
    assert raw.json()["body"] == "x" * 400_000


def test_an_answer_that_is_known_is_not_sent_again(client: TestClient) -> None:
    for path in ("json", "large"):
        task_id = Shop(client).accepted("GET", f"/answers/{path}")
        first = client.get(f"{PATH}/{task_id}/?wait=20", headers=ANONYMOUS)
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        for given, status in ((tag, 304), (f'"x", W/{tag}', 304), ("*", 304), ('"x"', 200)):
            again = client.get(f"{PATH}/{task_id}/", headers={**ANONYMOUS, "If-None-Match": given})
            assert (again.status_code, again.headers["etag"]) == (status, tag), given
        # Who is not the owner learns nothing by it.
        other = {"X-Async-Request": "another-channel-altogether", "If-None-Match": "*"}
        assert client.get(f"{PATH}/{task_id}/", headers=other).status_code == 403


def test_prefer_asks_as_our_own_header_does(client: TestClient, token: str) -> None:
    answer = client.get("/maybe", headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert "Prefer" in answer.headers["vary"]
    channel = answer.json()["meta"]["channel"]
    location = answer.headers["location"]
    own = {"X-Async-Request": channel}
    assert client.get(f"{location}raw?wait=20", headers=own).json() == {"known": True}
    bearer = {"Authorization": f"Bearer {token}", "Prefer": "respond-async; x, return=minimal"}
    answer = client.get("/me", headers=bearer)
    assert answer.json() == {"data": None, "meta": answer.json()["meta"]}
    assert set(answer.json()["meta"]) == {"async_request_id"}
    refused = {"Prefer": "respond-async", "X-Async-Request": "false"}
    assert client.get("/maybe", headers=refused).json() == {"known": False}
    assert client.get("/maybe", headers={"Prefer": "wait=5"}).json() == {"known": False}


def test_with_wait_the_answer_comes_directly_if_it_is_there_in_time(client: TestClient) -> None:
    headers = {**ANONYMOUS, "Prefer": 'respond-async, wait="20"'}
    direct = client.get("/answers/problem", headers=headers)
    assert (direct.status_code, direct.json()) == (409, {"title": "No"})
    assert direct.headers["preference-applied"] == "wait=20"
    assert direct.headers["vary"] == "Prefer"
    slow = client.get(
        "/sleep?seconds=1.5&name=later",
        headers={**ANONYMOUS, "Prefer": "wait=1, respond-async"},
    )
    assert slow.status_code == 202
    assert slow.headers["preference-applied"] == "respond-async, wait=1"
    task_id = slow.json()["meta"]["async_request_id"]
    assert Shop(client).result(task_id)["response"] == "later"


def test_trace_headers_are_kept(client: TestClient) -> None:
    given = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1,b=2",
        "baggage": "user=x;p=1",
    }
    result = Shop(client).finished("GET", "/echo/trace", headers=given)
    assert given.items() <= dict(result["response"]["headers"]).items()


def test_headers_that_must_not_be_kept_are_not(settings: Settings, celery: Celery) -> None:
    changed = settings.model_copy(update={"drop_headers": ["X-Internal-Token", "Cookie"]})
    with TestClient(create_app(changed, celery)) as client:
        given = {"x-internal-token": "t", "cookie": "a=1", "x-kept": "1"}
        result = Shop(client).finished("GET", "/echo/dropped", headers=given)
    names = {name for name, _ in result["response"]["headers"]}
    assert "x-kept" in names
    assert not names & {"x-internal-token", "cookie"}
