"""The page at `/`, and the JavaScript client, in a real Chromium."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.support.browser import ARTIFACTS, chromium
from tests.support.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
WITHIN = 30_000
CSV = b"name,age\nAda,36\nAlan,41\nGrace,\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=service.url, viewport=DESKTOP)  # type: ignore[arg-type]
    context.set_default_timeout(WITHIN)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    yield from opened(context)


def opened(context: BrowserContext) -> Iterator[Page]:
    """The page, connected; whatever it logs as an error fails the test."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
    page.goto("/")
    expect(page.get_by_text("Live, over")).to_be_visible(timeout=WITHIN)
    yield page
    assert not wrong


def is_wrong(said: ConsoleMessage) -> bool:
    # Browsers log each status from 400 on, and some of these answers have one.
    return said.type == "error" and "the server responded with a status of" not in said.text


def upload(page: Page, csv: bytes = CSV) -> None:
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": csv}
    page.get_by_label("CSV file", exact=True).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Make the report").click()


def shows_report(page: Page, how: str) -> None:
    expect(page.locator("#outcome")).to_contain_text(f"Answered {how}", timeout=WITHIN)
    expect(page.get_by_role("row", name="age integer 2 1 36 41 38.5")).to_be_visible()
    expect(page.get_by_role("img", name="age: 33 % missing")).to_be_visible()


@pytest.mark.parametrize(
    ("mode", "how"), [("Asynchronous", "asynchronously"), ("Direct", "directly")]
)
def test_a_csv_file_becomes_a_report(page: Page, mode: str, how: str) -> None:
    page.get_by_text(mode, exact=True).click()
    upload(page)
    shows_report(page, how)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_long_report_is_watched(browser: Browser, service: Service, scheme: str) -> None:
    context = browser.new_context(
        base_url=service.url,
        viewport=DESKTOP,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    for page in opened(context):
        page.get_by_role("button", name="Use a sample").click()
        page.get_by_role("button", name="Make the report").click()
        expect(page.locator("progress[value]")).to_be_visible(timeout=WITHIN)
        expect(page.locator("#step")).to_contain_text("rows read")
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"running-{scheme}.png")
        expect(page.locator("#outcome")).to_contain_text("status 200", timeout=WITHIN)
        expect(page.locator("#facts")).to_contain_text("150,000")
        expect(page.get_by_role("button", name="Show the answer").first).to_be_visible()
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            if name == "phone":
                page.get_by_role("button", name="Show the answer").first.click()
                expect(page.locator("#outcome")).to_contain_text("csv-report: status 200")
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= size["width"], "the page scrolls sideways"
            page.screenshot(path=ARTIFACTS / f"{name}-{scheme}.png", full_page=True)
    context.close()


def test_requests_are_started_listed_and_cancelled(page: Page) -> None:
    page.get_by_label("Sleep for").fill("600")
    page.get_by_role("button", name="Start", exact=True).click()
    item = page.get_by_role("listitem").filter(has_text="sleep?seconds=600")
    item.get_by_role("button", name="Cancel").click(timeout=WITHIN)
    expect(item).to_contain_text("completed", timeout=WITHIN)
    expect(page.get_by_role("log")).to_contain_text("async_request")
    # After a reload they are still one's own.
    page.reload()
    item.get_by_role("button", name="Show").click(timeout=WITHIN)
    expect(page.locator("#outcome")).to_contain_text("status 499")
    item.get_by_role("button", name="Forget").click()
    expect(item).to_have_count(0, timeout=WITHIN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_jobs_are_started_watched_and_cancelled(
    browser: Browser, service: Service, scheme: str
) -> None:
    context = browser.new_context(
        base_url=service.url,
        viewport=PHONE,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    for page in opened(context):
        page.get_by_label("Job", exact=True).select_option(label="Countdown of 20 s")
        page.get_by_role("button", name="Start the job").press("Enter")
        item = page.locator("#jobs").get_by_role("listitem").filter(has_text="countdown")
        bar = item.get_by_role("progressbar", name="Progress of countdown")
        expect(bar).to_have_attribute("value", re.compile(r"^[1-9]"), timeout=WITHIN)
        expect(item).to_contain_text("s to go")
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], "the page scrolls sideways"
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"job-{scheme}.png", full_page=True)
        item.get_by_role("button", name="Cancel the job countdown").press("Enter")
        expect(item).to_contain_text("cancelled", timeout=WITHIN)
        expect(bar).to_have_count(0)
        # After a reload they are still one's own.
        page.reload()
        expect(item).to_contain_text("cancelled", timeout=WITHIN)
    context.close()


def test_an_export_is_downloaded(page: Page) -> None:
    page.get_by_label("Job", exact=True).select_option(label="Export of all orders, CSV")
    page.get_by_role("button", name="Start the job").click()
    with page.expect_download(timeout=2 * WITHIN) as started:
        page.get_by_role("link", name="Download").click(timeout=2 * WITHIN)
    assert started.value.suggested_filename == "orders.csv"
    with started.value.path().open() as file:
        assert next(file) == "id,customer,article,pieces,price\n"
        assert sum(1 for _ in file) == 50_000


def test_a_file_that_is_no_csv_is_refused_with_its_reason(page: Page) -> None:
    upload(page, b"\xff\xfe\x00")
    expect(page.locator("#outcome")).to_contain_text("status 422", timeout=WITHIN)


def test_a_report_can_be_cancelled_with_the_keyboard_alone(page: Page) -> None:
    page.get_by_role("button", name="Use a sample").press("Enter")
    page.get_by_role("button", name="Make the report").press("Enter")
    page.get_by_role("button", name="Cancel", exact=True).press("Enter")
    expect(page.locator("#outcome")).to_have_text("Cancelled.", timeout=WITHIN)


def test_every_control_has_a_name(page: Page) -> None:
    upload(page)
    shows_report(page, "asynchronously")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, [tabindex]')].filter((one) =>
            !(one.textContent.trim() || one.labels?.length || one.getAttribute('aria-label')
              || one.getAttribute('aria-labelledby'))).map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_nothing_comes_from_elsewhere_and_nothing_inline_runs(service: Service) -> None:
    for path in ("/", "/page/page.js", "/page/client/index.js"):
        answer = service.client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert service.client.get("/page/../main.py").status_code == 404


def test_tabs_share_one_connection_and_outlive_the_one_that_has_it(
    context: BrowserContext,
) -> None:
    sockets: list[str] = []

    def counted() -> Page:
        tab = context.new_page()
        tab.on("websocket", lambda socket: sockets.append(socket.url))
        tab.goto("/")
        # A channel of its own, of which another tab hears for it; it never asks by itself.
        tab.evaluate(
            """async () => {
              const { AsyncClient } = await import('/page/client/index.js');
              window.own = new AsyncClient({ checkSeconds: 600 });
              const { promise, resolve } = Promise.withResolvers();
              own.addEventListener('message', ({ detail }) => detail.type === 'subscribed' && resolve());
              own.connect();
              await promise;
            }"""
        )
        expect(tab.get_by_text("Live, over WebSocket")).to_be_visible(timeout=WITHIN)
        return tab

    def answers(tab: Page) -> None:
        seconds = tab.evaluate(
            """async () => {
              const begun = performance.now();
              // Not only is there an answer, which could have been asked for: it is heard of.
              const { promise, resolve } = Promise.withResolvers();
              own.addEventListener('message', ({ detail }) => detail.type === 'data' && resolve());
              const response = await own.fetchAsync('/api/v1/demo/sleep?seconds=0.5');
              await promise;
              if (response.status !== 200) throw new Error(response.status);
              return (performance.now() - begun) / 1000;
            }"""
        )
        assert seconds < 20

    first, second, third = counted(), counted(), counted()
    assert len(sockets) == 1
    for tab in (third, second, first):
        answers(tab)
    first.close()
    for tab in (third, second):
        answers(tab)
        expect(tab.get_by_text("Live, over WebSocket")).to_be_visible(timeout=WITHIN)
    assert len(sockets) == 2


@pytest.mark.parametrize("transport", ["websocket", "sse", "long-poll"])
def test_the_client_answers_in_a_browser_as_a_direct_request_does(
    page: Page, transport: str
) -> None:
    answers = page.evaluate(
        """async (transport) => {
          const { AsyncClient } = await import('/page/client/index.js');
          const transports = transport === 'long-poll' ? [] : [transport];
          const client = new AsyncClient({ transports, shareTabs: false });
          const states = [];
          client.addEventListener('state', ({ detail }) => states.push(detail));
          const shown = async (response) => {
            const { date, server, 'x-request-id': id, ...headers } = Object.fromEntries(response.headers);
            return [response instanceof Response, response.status, headers, await response.text()];
          };
          const body = () => {
            const form = new FormData();
            form.set('file', new File(['a,b\\n1,2\\n'], 'größe.csv'));
            return form;
          };
          const path = '/api/v1/demo/csv-report?format=csv';
          const given = await client.fetchAsync(path, { method: 'POST', body: body() });
          const direct = await fetch(path, { method: 'POST', body: body() });
          return [await shown(given), await shown(direct), states];
        }""",
        transport,
    )
    given, direct, states = answers
    assert given == direct
    assert given[:2] == [True, 200]
    assert (transport in states) == (transport != "long-poll")


def test_where_no_websocket_passes_events_do(browser: Browser, service: Service) -> None:
    context = browser.new_context(base_url=service.url)
    context.add_init_script("delete globalThis.WebSocket")
    for page in opened(context):
        expect(page.get_by_text("Live, over server-sent events")).to_be_visible()
        upload(page)
        shows_report(page, "asynchronously")
    context.close()
