"""Requests by hand: what APIs are asked in practice, and what is seldom but legal."""

import gzip
import json
from urllib.parse import quote

from tests.support.differential.wire import Case

_JSON = (("Content-Type", "application/json"),)
_FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
_BOUNDARY = "----boundary of the test"
_MULTIPART = (("Content-Type", f'multipart/form-data; boundary="{_BOUNDARY}"'),)
_BINARY = bytes(range(256))


def multipart(*parts: tuple[str, str, bytes]) -> bytes:
    """A body of files: (field, file name, content)."""
    lines = b""
    for field, name, content in parts:
        lines += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"'.encode()
        lines += f'; filename="{name}"\r\nContent-Type: application/x-thing\r\n\r\n'.encode()
        lines += content + b"\r\n"
    return lines + f"--{_BOUNDARY}--\r\n".encode()


def _zoo() -> list[Case]:
    cases = [
        Case(method, f"{place}/echo/x?q=1", body=b"body" if method[0] == "P" else b"")
        for place in ("", "/starlette", "/fastapi/deeper")
        for method in (
            "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "X-ODD",
        )
    ]  # fmt: skip
    cases += [
        Case("GET", target)
        for target in (
            "/echo/", "/echo/a%2Fb", "/echo/a%2fb/c", "/echo/%C3%A9", "/echo/a%20b", "/echo/a+b",
            "/echo//double//slash", "/echo/..%2f..", "/echo/./dot/../dots", "/echo/%00", "/echo/%zz",
            "/echo/a;b=c,d", "/echo/%FF%FE", "/echo/~tilde!$&'()*", "/echo/x?", "/echo/x?a",
            "/echo/x?a=", "/echo/x?=b", "/echo/x?a=1&a=2&b=%20+", "/echo/x?q=%ff", "/echo/x?q=a?b/c",
            "/echo/x?%5B%5D=1", "/echo/x?q=" + "z" * 4000, "/echo/" + "long/" * 500,
            "/starlette", "/starlette/", "/starlette/none", "/fastapi/none", "/fastapi/deeper",
            "/none", "/orders", "/", "/echo", "/error?code=404", "/error?code=500&detail=x",
            "/error?code=422", "/error", "/error?code=x", "/fail", "/debug/fail",
            "/with-middleware/fail", "/file", "/page", "/named", "/cookies?name=a&name=b&name=c",
            "/redirect", "/redirect?code=301", "/redirect?code=303&to=https://x.example/%C3%A9",
            "/redirect?code=308&to=/a%20b", "/stream", "/stream?parts=0", "/stream?parts=200&size=7",
            "/stream?parts=3&size=100000", "/sse", "/sse?events=0", "/sse?events=100",
            "/sized?size=0", "/sized?size=256", "/sized?size=1000000", "/background?name=direct",
            "/raw/x", "/openapi.json", "/docs",
        )
    ]  # fmt: skip
    cases += [
        Case("GET", f"/status?code={code}")
        for code in (200, 201, 202, 203, 204, 205, 206, 300, 304, 400, 401, 404, 409, 418, 429,
                     500, 502, 503, 599)
    ]  # fmt: skip
    cases += [
        Case("GET", "/file", (("Range", value),))
        for value in ("bytes=0-9", "bytes=10-", "bytes=-10", "bytes=99999999-",
                      "lines=1-2", "bytes=x", "bytes=9-1")
    ]  # fmt: skip
    cases += [
        Case("HEAD", target)
        for target in ("/file", "/page", "/stream", "/none", "/status?code=204", "/raw/x")
    ]
    cases += [
        Case("GET", "/echo/headers", headers)
        for headers in (
            (("X-Twice", "1"), ("x-other", ""), ("X-Twice", "2"), ("x-twice", "1")),
            (("Cookie", "a=1; b=2"), ("Cookie", "c=3; a=4")),
            (("Cookie", 'q="quoted; value"; =; ; x'),),
            (("X-Bytes", b"caf\xe9 \xff"),),
            (("X-Long", "v" * 10_000),),
            tuple((f"X-Number-{n}", str(n)) for n in range(90)),
            (("Authorization", "Basic YTpi"), ("Accept", "*/*;q=0.1, text/html")),
            (("Accept-Encoding", "gzip, br"), ("Forwarded", "for=1.2.3.4;proto=https")),
            (("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")),
            (("X-Space", "  inner   space  "), ("X-Tab", "a\tb")),
            (("TE", "trailers"), ("Prefer", "return=minimal")),
            (("Origin", "https://front.example"),),
            (("X-Respond-Async-Replay", "1"), ("respond_async.replay", "1")),
        )
    ]
    cases += [
        Case("GET", "/page", (("Accept-Encoding", "gzip"),)),
        Case("GET", "/file", (("Accept-Encoding", "gzip"),)),
        Case("GET", "/sse?events=200", (("Accept-Encoding", "gzip"),)),
        Case("GET", "/page", (("Origin", "https://front.example"),)),
        Case(
            "OPTIONS",
            "/orders",
            (("Origin", "https://front.example"), ("Access-Control-Request-Method", "POST")),
        ),
    ]
    order = b'{"article": "apple", "pieces": 2}'
    cases += [
        Case("POST", place, _JSON, body)
        for place in ("/orders", "/fastapi/orders")
        for body in (
            order, b"", b"{", b"null", b"[]", b'{"article": 1}', b'{"article": "x", "pieces": "2"}',
            b"\xff", b'{"article": NaN, "pieces": 1}', b"[" * 500, order + b" trailing",
            '{"article": "größe", "pieces": 1}'.encode(),
            '{"article": "größe", "pieces": 1}'.encode("utf-16"),
        )
    ]  # fmt: skip
    cases += [
        Case("POST", "/orders", (), order),
        Case("POST", "/orders", (("Content-Type", "text/plain"),), order),
        Case("POST", "/orders", (*_JSON, ("Content-Encoding", "gzip")), gzip.compress(order, 1)),
        Case("POST", "/orders", _JSON, chunks=(order[:5], order[5:])),
    ]
    cases += [
        Case("POST", "/form", _FORM, body)
        for body in (b"name=Ada&age=36", b"name=%C3%A9+x", b"name", b"age=x&name=1", b"", b"=&=&&")
    ]
    cases += [
        Case("POST", "/form", _MULTIPART, multipart(("name", "x.txt", b"a"))),
        Case("POST", "/upload", _MULTIPART, multipart(("files", "a.bin", _BINARY))),
        Case("POST", "/upload?note=x", _MULTIPART, multipart(*[("files", "ä", b"x")] * 3)),
        Case("POST", "/upload", _MULTIPART, multipart(("files", "big", _BINARY * 8000))),
        Case("POST", "/upload", _MULTIPART, multipart(("files", "cut off", b"x"))[:-20]),
        Case("POST", "/upload", _MULTIPART, b""),
        Case("POST", "/upload", (("Content-Type", "multipart/form-data"),), b"x"),
    ]
    cases += [
        Case("POST", "/echo/body", body=body, name=f"POST /echo of {len(body)} bytes")
        for body in (b"", b"\x00", _BINARY, b"x" * 65_536, b"x" * 65_537, _BINARY * 10_000)
    ]
    cases += [
        Case("PUT", "/echo/chunked", chunks=chunks, name=f"PUT /echo in {len(chunks)} chunks")
        for chunks in ((b"one",), (b"one", b"two"), (b"x",) * 300, (_BINARY * 400,) * 5)
    ]
    return [*cases, Case("POST", "/raw/x", body=b"all of it"), Case("DELETE", "/echo/d", body=b"d")]


def _httpbin() -> list[Case]:
    targets = [
        *(f"/status/{code}" for code in (200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 402, 404,
                                         406, 407, 410, 418, 429, 500, 503)),
        "/headers", "/ip", "/user-agent", "/get?a=1&a=2", "/anything?x=%ff", "/anything/a/b",
        "/cookies", "/cookies/set?a=1&b=2", "/cookies/set/k/v", "/cookies/delete?a", "/image",
        "/image/png", "/image/jpeg", "/image/webp", "/image/svg", "/brotli", "/deflate",
        "/encoding/utf8", "/html", "/xml", "/json", "/robots.txt", "/deny",
        "/stream/1", "/stream/20", "/stream-bytes/5000?seed=1&chunk_size=100", "/bytes/0?seed=1",
        "/bytes/1?seed=2", "/bytes/100000?seed=3", "/drip?numbytes=20&duration=0.05&delay=0",
        "/drip?code=500&numbytes=3&duration=0&delay=0", "/range/1024", "/range/1000?chunk_size=100",
        "/redirect/1", "/redirect/3", "/relative-redirect/2", "/absolute-redirect/2",
        "/redirect-to?url=https%3A%2F%2Fx.example%2F", "/redirect-to?url=/get&status_code=307",
        "/basic-auth/u/p", "/hidden-basic-auth/u/p", "/bearer", "/base64/aGVsbG8=", "/base64/%%%",
        "/links/5/1", "/links/3", "/cache/60", "/etag/abc", "/response-headers?X-A=1&X-A=2&X-B=%C3%A9",
        "/delay/0", "/forms/post", "/none", "/", "/spec.json",
    ]  # fmt: skip
    cases = [Case("GET", target) for target in targets if not target.startswith("/cache")]
    cases += [
        Case(method, f"/anything/{method.lower()}?a=b", body=b"data")
        for method in ("POST", "PUT", "PATCH", "DELETE")
    ]
    cases += [Case(method, "/anything") for method in ("HEAD", "OPTIONS", "TRACE")]
    cases += [
        Case("GET", "/image", (("Accept", kind),))
        for kind in ("image/webp", "image/svg+xml", "image/jpeg", "image/*", "text/plain")
    ]
    cases += [
        Case("GET", "/range/26", (("Range", value),))
        for value in ("bytes=0-5", "bytes=20-", "bytes=-3", "bytes=30-40")
    ]
    cases += [
        Case("GET", "/etag/abc", (("If-None-Match", "abc"),)),
        Case("GET", "/etag/abc", (("If-Match", "other"),)),
        Case("GET", "/cache", (("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),)),
        Case("GET", "/basic-auth/u/p", (("Authorization", "Basic dTpw"),)),
        Case("GET", "/bearer", (("Authorization", "Bearer token"),)),
        Case("GET", "/cookies", (("Cookie", "a=1; b=2"),)),
        Case("GET", "/headers", (("X-Twice", "1"), ("X-Twice", "2"))),
        Case("POST", "/post", _FORM, b"a=1&a=2&b=%C3%A9"),
        Case("POST", "/post", _JSON, json.dumps({"a": [1, None, "é"]}).encode()),
        Case("POST", "/post", _JSON, b"{malformed"),
        Case("POST", "/post", (), _BINARY),
        Case("POST", "/post", (), b""),
        Case("POST", "/post", _MULTIPART, multipart(("f", "n.txt", b"text"), ("g", "b", _BINARY))),
        Case("PUT", "/put", (), _BINARY * 100),
        Case("PATCH", "/patch", _JSON, b"{}"),
        Case("DELETE", "/delete"),
        Case("GET", f"/anything/{quote('größe/ä b', safe='')}"),
    ]
    return cases


ZOO = _zoo()
HTTPBIN = _httpbin()
