"""What somebody may try who is not who they say."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from respond_async import Settings
from respond_async.publishing import TASK_NAME
from respond_async.scope import IDENTITIES, RAW_REQUEST, REPLAY, VERBATIM, ReplayInfo
from respond_async.sealing import Sealer
from respond_async.task_ids import TaskIds
from tests.support.shop.client import ANONYMOUS, CHANNEL, Shop, listening
from tests.support.shop.main import create_app
from ws_hub import TokenVerifier

PATH = "/api/v1/async_background_response"
MARK = {
    "task_id": "a", "accepted_at": "2020-01-01T00:00:00Z", "channel": "user.alice",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [REPLAY, REPLAY.replace(".", "-"), "x-respond-async-replay", "x-replay", "replay",
     "x-forwarded-replay", "celery-task-id", "x-celery-id"],
)  # fmt: skip
def test_no_header_marks_a_replay(client: TestClient, name: str) -> None:
    for value in ("1", "true", json.dumps(MARK), repr(MARK)):
        headers = {name: value}
        assert client.get("/only-async", headers=headers).status_code == 409
        assert client.get("/me", headers=headers).status_code == 401
        assert client.get("/only-async", headers={**headers, **ANONYMOUS}).status_code == 202


@pytest.mark.parametrize("value", [1, True, MARK, json.dumps(MARK), [ReplayInfo], ReplayInfo])
def test_nothing_in_the_scope_but_our_own_mark_marks_a_replay(
    client: TestClient, value: Any
) -> None:
    """As a server or a proxy's middleware may put into it what a client sent."""

    async def with_scope(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope |= {REPLAY: value, IDENTITIES: value, RAW_REQUEST: value, VERBATIM: value}
            scope["state"] = {REPLAY: value}
            scope["extensions"] = {REPLAY: value}
        await client.app(scope, receive, send)

    outer = TestClient(with_scope)
    assert outer.get("/only-async").status_code == 409
    assert outer.get("/me").status_code == 401
    assert outer.get(f"/only-async?{REPLAY}=1").status_code == 409
    assert outer.get("/maybe", headers=ANONYMOUS).status_code == 202


@pytest.mark.usefixtures("worker")
def test_a_replayed_request_cannot_make_itself_another(client: TestClient, token: str) -> None:
    """Whoever it is at its end was decided when it was accepted."""
    headers = {
        "X-Async-Request": CHANNEL,
        REPLAY: json.dumps(MARK),
        "x-forwarded-user": "root",
        "x-user": "root",
    }
    result = Shop(client).finished("GET", "/me", headers=headers)
    assert result["response"] == {"sub": None, "replayed": True}
    bearer = {"Authorization": f"Bearer {token}", "X-Async-Request": CHANNEL}
    result = Shop(client).finished("GET", "/me", headers=bearer)
    assert result["response"]["sub"] == "alice"


@pytest.mark.usefixtures("worker")
def test_who_can_write_to_the_queue_cannot_run_a_request(
    client: TestClient, celery: Celery, settings: Settings, store: "redis.Redis"
) -> None:
    """Sealed with another key, readable, or an old one under another id: nothing runs."""
    recorded = Shop(client).accepted("GET", "/sleep?seconds=0&name=forged")
    Shop(client).result(recorded)
    (sealed,) = _sealed_requests(settings, celery, store)
    other = settings.model_copy(update={"secret_key": [SecretStr("x" * 64)]})
    head = json.dumps({"version": 1, "task_id": "t", "channel": "user.root"}).encode()
    plain = "plain:" + base64.b64encode(head + b"\n").decode()
    with listening(store, "user.root") as heard, listening(store, f"anon.{CHANNEL}") as told:
        for text in (
            plain,
            Sealer(other, "request").seal(head + b"\n"),
            Sealer(settings, "answer").seal(head + b"\n"),
            sealed,
            sealed[:-4] + "AAAA",
        ):
            forged = TaskIds(settings).make(f"anon.{CHANNEL}", datetime.now(UTC))
            result = celery.send_task(
                TASK_NAME, kwargs={"request": text}, task_id=forged, queue=settings.kafka_topic
            )
            with pytest.raises(Exception, match="request"):
                result.get(timeout=10)
            result.forget()
        # Behind all of them in the queue.
        later = Shop(client).accepted("GET", "/maybe")
        Shop(client).result(later)
        assert not heard()
        assert set(told()) <= {later}


def _sealed_requests(settings: Settings, celery: Celery, store: "redis.Redis") -> list[str]:
    queue = f"recorded-{uuid.uuid4()}"
    changed = settings.model_copy(update={"kafka_topic": queue})
    with TestClient(create_app(changed, celery)) as other:
        Shop(other).accepted("GET", "/sleep?seconds=0&name=recorded")
    found = []
    for text in store.lrange(queue, 0, -1):
        _, kwargs, _ = json.loads(base64.b64decode(json.loads(text)["body"]))
        found.append(kwargs["request"])
    return found


def test_ids_are_not_guessed(client: TestClient, settings: Settings) -> None:
    mine = Shop(client).accepted("GET", "/maybe")
    for guess in (
        str(uuid.uuid4()),
        mine[:-1] + ("A" if mine[-1] != "A" else "B"),
        ("A" if mine[0] != "A" else "B") + mine[1:],
        mine.swapcase(),
        mine + "A",
        "A" * 64,
        "%00" * 8,
    ):
        for method in ("GET", "DELETE"):
            assert client.request(method, f"{PATH}/{guess}/", headers=ANONYMOUS).status_code == 404
        assert client.get(f"{PATH}/{guess}/raw", headers=ANONYMOUS).status_code == 404
    other = TaskIds(settings.model_copy(update={"secret_key": [SecretStr("x" * 64)]}))
    forged = other.make(f"anon.{CHANNEL}", datetime.now(UTC))
    assert Shop(client).asked(forged).status_code == 404


def test_an_id_whose_time_is_over_is_gone(client: TestClient, settings: Settings) -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=settings.result_ttl_seconds + 1)
    old = TaskIds(settings).make(f"anon.{CHANNEL}", long_ago)
    for url, method in ((f"{PATH}/{old}/", "GET"), (f"{PATH}/{old}/raw", "GET"), (f"{PATH}/{old}", "DELETE")):  # fmt: skip
        answer = client.request(method, url, headers=ANONYMOUS)
        assert answer.status_code == 410
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_documentation_shows_how_to_ask(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    captured = paths["/maybe"]["get"]
    accepted = captured["responses"]["202"]
    assert set(accepted["headers"]) == {"Location", "Retry-After", "Preference-Applied"}
    assert {"X-Async-Request", "Prefer", "Idempotency-Key"} <= {
        parameter["name"] for parameter in captured["parameters"]
    }
    own = paths[f"{PATH}/{{task_id}}/"]
    assert set(own) == {"get", "delete"}
    assert "X-Async-Request" not in [p["name"] for p in own["get"]["parameters"]]
    assert {f"{PATH}/", f"{PATH}/{{task_id}}/raw"} <= set(paths)


latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
header_names = st.sampled_from(
    ["X-Async-Request", "Prefer", "Idempotency-Key", "Authorization", "If-None-Match"]
)
near = st.sampled_from(
    ["true", "false", CHANNEL, "respond-async", "respond-async, wait=0", "wait=x", '"k"', '"k',
     "Bearer ", "Bearer a.b.c", "bearer eyJhbGciOiJub25lIn0.e30.", "Basic YTpi", "*", 'W/"x"']
)  # fmt: skip
fuzzed = hypothesis_settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@fuzzed
@given(headers=st.lists(st.tuples(header_names, latin | near), max_size=6))
def test_whatever_the_headers_are_the_server_does_not_fail(
    client: TestClient, headers: list[tuple[str, str]]
) -> None:
    for url in ("/maybe", f"{PATH}/", f"{PATH}/{'A' * 64}/"):
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = client.get(url, headers=sent)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"


@fuzzed
@given(
    task_id=st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{64}", fullmatch=True),
    query=st.dictionaries(
        st.sampled_from(["channel", "wait", "limit", "status", "cursor"]),
        st.text(max_size=40) | st.sampled_from(["0", "20", CHANNEL, "pending", "MTIuQQ"]),
    ),
    method=st.sampled_from(["GET", "DELETE"]),
    raw=st.booleans(),
)
def test_whatever_is_asked_of_the_endpoints_of_results_they_do_not_fail(
    client: TestClient, task_id: str, query: dict[str, str], method: str, raw: bool
) -> None:
    url = f"{PATH}/{quote(task_id, safe='')}{'/raw' if raw else ''}"
    answer = client.request(method, url, params=query, headers=ANONYMOUS)
    assert answer.status_code < 500, answer.text


@fuzzed
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "x5u"]),
                           st.sampled_from(["none", "HS256", "RS256", "", "a", None, 7, [], {}])),
    claims=st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=9),
        lambda some: st.lists(some, max_size=3)
        | st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "aud", "iss"]), some),
        max_leaves=6,
    ),
    signature=st.binary(max_size=40),
)  # fmt: skip
def test_whatever_the_token_is_it_is_refused(
    settings: Settings, client: TestClient, header: Any, claims: Any, signature: bytes
) -> None:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    token = ".".join(
        [part(json.dumps(header).encode()), part(json.dumps(claims).encode()), part(signature)]
    )
    headers = {"Authorization": f"Bearer {token}", "X-Async-Request": "true"}
    assert client.get("/maybe", headers=headers).status_code == 401


def test_a_replay_needs_no_key_that_was_taken_away_meanwhile(settings: Settings) -> None:
    """Its token was verified when it was accepted, and what says so is sealed."""
    old = TokenVerifier(settings).issue("alice", 60)
    keys = [SecretStr("y" * 64)]
    app = create_app(settings.model_copy(update={"secret_key": keys}), "tests.support.shop:none")
    info = ReplayInfo(task_id="t", accepted_at=datetime.now(UTC), channel="user.alice")

    async def replaying(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[REPLAY] = info
        await app(scope, receive, send)

    headers = {"Authorization": f"Bearer {old}"}
    with TestClient(replaying) as client:
        assert client.get("/me", headers=headers).json() == {"sub": "alice", "replayed": True}
    assert TestClient(app).get("/me", headers=headers).status_code == 401
