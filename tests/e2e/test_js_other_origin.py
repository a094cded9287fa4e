"""The JavaScript client in a real Chromium, on a page of another origin than the service's."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import chromium
from tests.support.node import JS_CLIENT
from tests.support.ports import free_port
from tests.support.shop.process import ROOT, ShopWorker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

SECRET = "a-secret-of-the-test-session-and-nothing-else"
# What a front end's own script does, but that it tells how it heard of the end.
ASK = """async ({ url, path, init, transports }) => {
  const { AsyncClient } = await import('/src/index.js');
  const client = new AsyncClient({ baseUrl: url, transports, checkSeconds: 5 });
  const states = [];
  client.addEventListener('state', (event) => states.push(event.detail));
  let accepted = false;
  try {
    const response = await client.fetchAsync(path, { ...init, onAccepted: () => (accepted = true) });
    return { accepted, states, status: response.status, text: await response.text() };
  } catch (error) {
    return { accepted, error: error.name };
  } finally {
    client.close();
  }
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """The port of a server that has the client's files and nothing of the service's."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(JS_CLIENT))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def shop(pages: int, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("shop")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "REDIS_URL": redis_url, "SECRET_KEY": SECRET, "SHOP_ORIGIN": f"http://localhost:{pages}",
        "SHOP_APP": "tests.support.shop.front:app",
    }  # fmt: skip
    # The worker's own app lets no such page in, as one behind the service's front.
    apart = {"SHOP_ORIGIN": "https://elsewhere.example"}
    with (
        ShopWorker(directory, env | apart, pool="respond_async.pool:AsyncioPool", concurrency=20),
        (directory / "app.log").open("wb") as log,
        subprocess.Popen(
            [
                sys.executable, "-m", "uvicorn", "tests.support.shop.front:app",
                "--port", str(port),
            ],
            cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=subprocess.STDOUT,
        ) as app,
    ):  # fmt: skip

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/docs").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(answers, within=90, what=f"the app: see {directory}/app.log")
            yield url
        finally:
            app.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, pages: int) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"http://localhost:{pages}/")
    yield page
    page.close()


def asked(page: Page, url: str, path: str, transports: list[str], **init: Any) -> dict[str, Any]:
    given = {"url": url, "path": path, "init": init, "transports": transports}
    found: dict[str, Any] = page.evaluate(ASK, given)
    return found


@pytest.mark.parametrize("transports", [["websocket"], ["sse"], []], ids=str)
def test_an_answer_comes_to_a_page_of_an_allowed_origin(
    page: Page, shop: str, transports: list[str]
) -> None:
    init = {
        "method": "POST", "body": '{"name": "é"}', "headers": {"Content-Type": "application/json"},
    }  # fmt: skip
    answer = asked(page, shop, "/echo/some/where?a=1", transports, **init)
    assert (answer["accepted"], answer["status"]) == (True, 200)
    assert '"path":"/echo/some/where"' in answer["text"]
    assert transports == [] or transports[0] in answer["states"], "the hub let the page in"


def test_a_redirect_that_is_the_answer_is_followed(page: Page, shop: str) -> None:
    answer = asked(page, shop, "/moved", ["websocket"])
    assert (answer["accepted"], answer["status"], answer["text"]) == (True, 200, '"moved"')


def test_an_error_of_the_endpoint_is_the_answer(page: Page, shop: str) -> None:
    answer = asked(page, shop, "/nowhere-at-all", ["websocket"])
    assert answer["status"] == 404


def test_a_page_of_a_foreign_origin_gets_nothing(browser: Browser, pages: int, shop: str) -> None:
    # Another host name is another origin, and this one stands in no list.
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{pages}/")
    answer = asked(page, shop, "/sleep?seconds=0", ["websocket", "sse"])
    assert answer == {"accepted": False, "error": "TypeError"}
    page.close()
