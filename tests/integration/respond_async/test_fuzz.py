"""Whatever arrives on the wire: this project's own code answers, and never with a 500."""

import socket
from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from hypothesis import HealthCheck, example, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from respond_async import Gateway, Settings
from tests.support.differential.server import served
from tests.support.differential.wire import CHANNEL, Case, asked
from tests.support.differential.zoo import bare

RESULT = "/api/v1/async_background_response/"

_quick = settings_of_hypothesis(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# What a server lets through in a header's value.
_value = st.binary(max_size=60).map(
    lambda value: bytes(b for b in value if b == 9 or (b >= 32 and b != 127)).strip()
)


@pytest.fixture(scope="module")
def port(settings: Settings, celery: Celery) -> Iterator[int]:
    with served(Gateway(bare, celery=celery, settings=settings)) as port:
        yield port


@given(value=_value, token=_value, cookie=_value, length=st.sampled_from([None, b"0", b"5"]))
@example(value=b"x" * 10_000, token=b"Bearer " + b"y" * 10_000, cookie=b"", length=None)
@example(value=CHANNEL.encode(), token=b"Bearer \xff.\xff.\xff", cookie=b"\xff", length=None)
@_quick
def test_headers(
    port: int, value: bytes, token: bytes, cookie: bytes, length: bytes | None
) -> None:
    headers: list[tuple[str | bytes, str | bytes]] = [
        ("X-Async-Request", value), ("Authorization", token), ("Cookie", cookie),
    ]  # fmt: skip
    answer = asked(port, Case("POST", "/digest/", tuple(headers), b"x" * int(length or 0)))
    assert answer.status < 500, answer


@given(body=st.binary(max_size=3000), kind=_value)
@_quick
def test_bodies(port: int, body: bytes, kind: bytes) -> None:
    headers = (("X-Async-Request", CHANNEL), ("Content-Type", kind), ("Content-Encoding", kind))
    assert asked(port, Case("POST", "/digest/", headers, body)).status == 202


@given(path=st.binary(max_size=40).map(lambda data: "".join(f"%{byte:02x}" for byte in data)))
@_quick
def test_paths(port: int, path: str) -> None:
    assert asked(port, Case("GET", f"/{path}", (("X-Async-Request", CHANNEL),))).status < 500


@given(
    task_id=st.text("abcAZ09-_.~=+%2f", max_size=80)
    | st.text("abcAZ09-_", min_size=64, max_size=64)
    | st.binary(max_size=30).map(lambda data: "".join(f"%{byte:02x}" for byte in data))
)
@_quick
def test_ids(port: int, task_id: str) -> None:
    case = Case("GET", RESULT + task_id, (("X-Async-Request", CHANNEL),))
    assert asked(port, case).status < 500


def test_a_body_that_does_not_arrive_is_refused_in_time(
    settings: Settings, celery: Celery, store: "redis.Redis"
) -> None:
    impatient = settings.model_copy(update={"request_body_timeout_seconds": 0.5})
    before = set(store.scan_iter("respond_async:*"))
    with served(Gateway(bare, celery=celery, settings=impatient)) as port:
        for sent in (b"", b"x" * 1_500_000):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                head = f"POST /digest/ HTTP/1.1\r\nHost: x\r\nX-Async-Request: {CHANNEL}\r\n"
                client.sendall(f"{head}Content-Length: 4000000\r\n\r\n".encode() + sent)
                assert b" 408 " in client.recv(100)
        assert set(store.scan_iter("respond_async:*")) == before
