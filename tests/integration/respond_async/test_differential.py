"""Each request asked directly and replayed: status, headers and body are equal, byte for byte."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.differential import zoo
from tests.support.differential.cases import HTTPBIN, ZOO
from tests.support.differential.replaying import Replaying
from tests.support.differential.server import served
from tests.support.differential.wire import CHANNEL, Case, asked

ASYNC = ("X-Async-Request", CHANNEL)
GENERATED = 150
# NaN: what FastAPI says of such a body is no JSON itself.
MAY_FAIL = (b"/fail", b"500", b"NaN")


class Both:
    """The same app twice: as it is, and with the library's whole way in front of it."""

    def __init__(self, direct: int, replayed: int) -> None:
        self.direct = direct
        self.replayed = replayed

    def compare(self, case: Case) -> None:
        direct = asked(self.direct, case, ASYNC)
        replayed = asked(self.replayed, case, ASYNC)
        assert replayed == direct, str(case)
        # An app that fails on everything would be equal too.
        assert direct.status != 500 or any(word in case.request() for word in MAY_FAIL)


def both(where: str, app: object) -> Iterator[Both]:
    with served(app) as direct, served(Replaying(where), lifespan="on") as replayed:
        yield Both(direct, replayed)


@pytest.fixture(scope="module")
def shared() -> Iterator[Both]:
    yield from both("tests.support.differential.zoo:app", zoo.create_app())


@pytest.fixture(scope="module")
def httpbin() -> Iterator[Both]:
    from tests.support.differential.httpbin_app import app

    yield from both("tests.support.differential.httpbin_app:app", app)


def test_the_table_is_large() -> None:
    assert len(ZOO) + len(HTTPBIN) >= 300
    for table in (ZOO, HTTPBIN):
        assert len({case.request() for case in table}) == len(table)


@pytest.mark.parametrize("case", ZOO, ids=str)
def test_an_app_of_every_kind_of_route(shared: Both, case: Case) -> None:
    shared.compare(case)


@pytest.mark.parametrize("case", HTTPBIN, ids=str)
def test_httpbin(httpbin: Both, case: Case) -> None:
    httpbin.compare(case)


def test_a_background_task_has_ended_when_the_answer_is_there(shared: Both) -> None:
    asked(shared.replayed, Case("GET", "/background?name=replayed"))
    assert "replayed" in zoo.DONE


# What a request may consist of on the wire (RFC 9110 5.5, RFC 9112 3.2).
_TOKEN = st.text("ABCXYZabcxyz0189-_.!~", min_size=1, max_size=12)
_VALUE = st.binary(max_size=40).map(
    lambda value: bytes(b for b in value if b in b"\t" or (b >= 0x20 and b != 0x7F)).strip()
)
_PATH = st.text("abz019-._~!$&'()*+,;=:@/%", max_size=30)
_ENCODED = st.binary(max_size=10).map(lambda data: "".join(f"%{byte:02x}" for byte in data))
_RESERVED = {"host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"}


@st.composite
def requests(draw: st.DrawFn) -> Case:
    place = draw(st.sampled_from(["/echo/", "/starlette/echo/", "/fastapi/deeper/echo/", "/raw/"]))
    target = place + draw(_PATH) + draw(_ENCODED)
    if draw(st.booleans()):
        target += "?" + draw(_PATH) + draw(_ENCODED)
    names = _TOKEN.filter(lambda name: name.lower() not in _RESERVED)
    headers = tuple(draw(st.lists(st.tuples(names, _VALUE), max_size=8)))
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "X-ODD"]))
    if method in ("POST", "PUT", "PATCH") and draw(st.booleans()):
        return Case(method, target, headers, chunks=tuple(draw(st.lists(st.binary(min_size=1)))))
    body = draw(st.binary(max_size=2000)) if method in ("POST", "PUT", "PATCH") else b""
    return Case(method, target, headers, body)


@settings(
    max_examples=GENERATED,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=requests())
def test_any_request(shared: Both, case: Case) -> None:
    shared.compare(case)
