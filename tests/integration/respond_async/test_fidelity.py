"""The answer that comes later is the answer that would have come at once."""

import base64
import gzip
import hashlib
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.shop.client import ANONYMOUS, CHANNEL, Finished, Shop

pytestmark = pytest.mark.usefixtures("worker")


def headers_of(direct: Any) -> dict[str, Any]:
    """A direct answer's headers in the form of the result envelope."""
    shown: dict[str, Any] = {}
    for name, value in direct.headers.multi_items():
        shown.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in shown.items()}


def test_a_replay_sees_the_request_byte_for_byte(client: TestClient) -> None:
    def request(asynchronous: str) -> Any:
        return client.patch(
            "/echo/a%2Fb/%C3%A9%20x/?q=%41&q=b+c&empty=&x=%ff",
            headers=[
                ("X-Twice", "1"),
                ("Cookie", "a=1; b=2"),
                ("X-Twice", "2"),
                (b"X-Bytes", b"caf\xe9"),
                ("X-Async-Request", asynchronous),
            ],
            content=bytes(range(256)),
        )

    direct = request("false")
    accepted = request(CHANNEL)
    assert (direct.status_code, accepted.status_code) == (200, 202)
    result = Shop(client).result(accepted.json()["meta"]["async_request_id"])
    assert result["response"] == direct.json()
    (sent,) = [value for name, value in result["response"]["headers"] if name == "x-bytes"]
    assert not sent.isascii()
    assert result["response"]["stock"] == {"apples": 3}
    assert result["endpoint"] == "/echo/a%2Fb/%C3%A9%20x/?q=%41&q=b+c&empty=&x=%ff"
    assert result["headers"] == headers_of(direct)
    assert result["status"] == 200


@pytest.mark.parametrize(
    "kind",
    ["json", "nan", "problem", "text", "latin", "csv", "png", "untyped", "empty", "repeated"],
)
def test_every_kind_of_answer_comes_back_whole(
    client: TestClient, finished: Finished, kind: str
) -> None:
    direct = client.get(f"/answers/{kind}")
    result = finished("GET", f"/answers/{kind}")
    assert result["status"] == direct.status_code
    assert result["headers"] == headers_of(direct)
    if kind in ("json", "problem"):
        assert result["response"] == direct.json()
    elif kind in ("png", "untyped"):
        assert result["encoding"] == "base64"
        assert base64.b64decode(result["response"]) == direct.content
    elif kind == "empty":
        assert result["response"] is None
    else:
        assert result["response"] == direct.text
        assert "encoding" not in result


def test_json_comes_back_character_for_character(client: TestClient) -> None:
    task_id = Shop(client).accepted("GET", "/answers/json")
    Shop(client).result(task_id)
    text = Shop(client).asked(task_id).text
    assert text.endswith('"response": {"a": 1.0, "z":  [1e400, "\\u00e9"]}}')


def test_a_compressed_answer_is_readable_and_keeps_its_headers(
    client: TestClient, finished: Finished
) -> None:
    headers = {"Accept-Encoding": "gzip"}
    direct = client.get("/answers/large-json", headers=headers)
    assert direct.headers["content-encoding"] == "gzip"
    result = finished("GET", "/answers/large-json", headers=headers)
    assert result["response"] == direct.json()
    assert result["headers"] == headers_of(direct)


def test_a_head_request_has_no_body(client: TestClient, finished: Finished) -> None:
    result = finished("HEAD", "/head")
    assert result["headers"] == headers_of(client.head("/head"))
    assert (result["status"], result["response"]) == (200, "")


def test_an_uploaded_form_is_replayed_as_it_was(client: TestClient, finished: Finished) -> None:
    data = bytes(range(256)) * 100
    form: dict[str, Any] = {"files": {"file": ("ä.bin", data)}, "data": {"note": "größe"}}
    direct = client.post("/upload", **form)
    result = finished("POST", "/upload", **form)
    assert direct.json()["sha256"] == hashlib.sha256(data).hexdigest()
    assert result["response"] == direct.json()


@pytest.mark.parametrize("size", [0, 1, 100_000, 100_001, 1024 * 1024, 4_900_000])
def test_a_body_of_any_size_arrives(finished: Finished, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    response = finished("POST", "/digest", content=data)["response"]
    assert response == {"size": size, "sha256": hashlib.sha256(data).hexdigest()}


def test_a_form_larger_than_a_message_arrives(finished: Finished) -> None:
    data = bytes(2_000_000)
    result = finished("POST", "/upload", files={"file": ("zeros", data)})
    assert result["response"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_cookies_and_status_of_the_endpoint_stand_in_the_result(
    client: TestClient, finished: Finished
) -> None:
    order = {"article": "apple", "pieces": 2}
    result = finished("POST", "/orders", json=order)
    assert (result["status"], result["response"]) == (201, order)
    assert result["headers"]["set-cookie"] == ["a=1; Path=/", "b=2; Path=/"]
    assert result["headers"] == headers_of(client.post("/orders", json=order))


@pytest.mark.parametrize(
    ("request_line", "order", "status"),
    [
        ("POST /orders", {"article": "apple"}, 422),
        ("GET /forbidden", None, 403),
        ("GET /crash", None, 500),
        ("GET /sleep?seconds=much", None, 422),
    ],
)
def test_an_error_of_the_endpoint_stands_inside(
    client: TestClient, finished: Finished, request_line: str, order: object, status: int
) -> None:
    method, path = request_line.split()
    direct = client.request(method, path, json=order)
    result = finished(method, path, json=order)
    assert result["status"] == direct.status_code == status
    assert result["response"] == (direct.text if status == 500 else direct.json())
    assert "secret detail" not in json.dumps(result["response"])


def test_json_that_is_none_gets_the_answer_that_a_direct_call_gets(
    client: TestClient, finished: Finished
) -> None:
    request: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    direct = client.post("/orders", **request)
    result = finished("POST", "/orders", **request)
    assert (result["status"], result["response"]) == (422, direct.json())
    assert direct.status_code == 422


def test_a_mounted_app_is_captured_too(client: TestClient, finished: Finished) -> None:
    result = finished("GET", "/mounted/below?x=1")
    assert (result["status"], result["response"]) == (200, "mounted")
    assert result["headers"] == headers_of(client.get("/mounted/below?x=1"))


def test_what_no_route_takes_is_answered_at_once(client: TestClient) -> None:
    for method, path in (("DELETE", "/me"), ("GET", "/me/")):
        direct = client.request(method, path, follow_redirects=False)
        asked = client.request(method, path, headers=ANONYMOUS, follow_redirects=False)
        assert (asked.status_code, asked.headers) == (direct.status_code, direct.headers)
        assert direct.status_code in (405, 307)


def test_an_unknown_path_is_answered_at_once(client: TestClient) -> None:
    assert client.get("/nothing", headers=ANONYMOUS).status_code == 404


def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(finished: Finished) -> None:
    result = finished("GET", "/broken-off")
    assert result["status"] == 500
    assert "broke off" in result["response"]["detail"]


def test_an_answer_over_the_limit_is_named(finished: Finished) -> None:
    result = finished("GET", "/answers/large", headers={"Accept-Encoding": "identity"})
    assert result["status"] == 500
    assert "larger than 2000000 bytes" in result["response"]["detail"]


@pytest.mark.parametrize("path", ["/sleep?seconds=60&name=late", "/block?seconds=6"])
def test_an_endpoint_that_does_not_answer_is_ended(finished: Finished, path: str) -> None:
    result = finished("GET", path, within=5.5)
    assert result["status"] == 504
    assert "within 2 s" in result["response"]["detail"]
    assert result["headers"]["content-type"] == "application/problem+json"


def test_gzip_in_a_request_stays_as_it_is(finished: Finished) -> None:
    data = gzip.compress(b"hello")
    result = finished("POST", "/echo/", content=data, headers={"Content-Encoding": "gzip"})
    assert result["response"]["body"].encode("latin-1") == data
