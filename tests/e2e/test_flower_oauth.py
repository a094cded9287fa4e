"""Flower's OAuth on `kafka://`: a whole login at a provider, over TLS."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.certificates import LOOPBACK, Authority
from tests.support.flower import Project

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

KEY, SECRET = "flower-at-github", "known-to-flower-alone"


class GitHub(BaseHTTPRequestHandler):
    """What GitHub Enterprise answers to Flower; the code is the address of who logged in."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = (form["client_id"], form["client_secret"]) == ([KEY], [SECRET])
        self.answer({"access_token": form["code"][0]} if known else {"error": "who?"})

    def do_GET(self) -> None:
        email = self.headers["Authorization"].removeprefix("token ")
        self.answer([{"email": email, "verified": True}])

    def answer(self, what: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def provider(authority: Authority) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), GitHub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("github", *LOOPBACK))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def log_in(browser: httpx.Client, email: str) -> httpx.Response:
    """As a browser does, with the provider's page left out."""
    asked = browser.get("/login")
    where = urlsplit(asked.headers["location"])
    query = parse_qs(where.query)
    assert where.path == "/login/oauth/authorize"
    assert query["client_id"] == [KEY]
    assert SECRET not in asked.headers["location"]
    return browser.get("/login", params={"code": email, "state": query["state"][0]})


def test_who_the_provider_knows_and_the_pattern_lets_in_sees_the_pages(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with (
        provider(authority) as domain,
        Project(tmp_path, kafka, redis_url).flower(
            FLOWER_AUTH=".*@example.com",
            FLOWER_AUTH_PROVIDER="flower.views.auth.GithubLoginHandler",
            FLOWER_OAUTH2_KEY=KEY,
            FLOWER_OAUTH2_SECRET=SECRET,
            FLOWER_OAUTH2_REDIRECT_URI="http://flower.example.com/login",
            FLOWER_GITHUB_OAUTH_DOMAIN=domain,
            SSL_CERT_FILE=str(authority.path),
        ) as flower,
        httpx.Client(base_url=flower.url, timeout=20) as browser,
    ):
        for path in ("/workers", "/broker", "/api/queues/length"):
            refused = browser.get(path)
            assert refused.status_code == 302, path
            assert refused.headers["location"].startswith("/login"), path

        assert log_in(browser, "eve@elsewhere.com").status_code == 403
        assert browser.get("/workers").status_code == 302
        forged = browser.get("/login", params={"code": "ann@example.com", "state": "guessed"})
        assert forged.status_code == 403

        assert log_in(browser, "ann@example.com").status_code == 302
        for path in ("/workers", "/broker", "/api/queues/length"):
            assert browser.get(path).status_code == 200, path
