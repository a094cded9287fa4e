"""Flower's pages on `kafka://`, in a real Chromium."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import ARTIFACTS, chromium
from tests.support.flower import QUEUE, Flower, Project
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

WORKER = "w1@test"
WITHIN = 30_000


@pytest.fixture(scope="module")
def flower(
    kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flower]:
    project = Project(tmp_path_factory.mktemp("project"), kafka, redis_url)
    with project.worker("w1"), project.flower() as running:
        running.wait_for_worker(WORKER)
        yield running


@pytest.fixture
def page(flower: Flower) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(base_url=flower.url)
        page.set_default_timeout(WITHIN)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
        assert not wrong


def picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"flower-{name}.png", full_page=True)


def test_the_pages_show_workers_tasks_queues_and_a_task(flower: Flower, page: Page) -> None:
    task_id = flower.post("/api/task/async-apply/project.add", {"args": [40, 2]})["task-id"]
    flower.wait_for_state(task_id, "SUCCESS")
    running = flower.post("/api/task/async-apply/project.nap", {"args": [600]})["task-id"]
    flower.wait_for_state(running, "STARTED")
    wait_until(
        lambda: flower.queues()[QUEUE]["messages_unacknowledged"] == 1, within=30, what="one runs"
    )

    page.goto("/workers")
    row = page.locator("#workers-table tbody tr", has_text=WORKER)
    expect(row).to_contain_text("Online")
    picture(page, "workers")

    page.goto("/tasks")
    expect(page.locator("#tasks-table tbody tr", has_text="project.add")).to_contain_text("SUCCESS")
    expect(page.locator("#tasks-table tbody tr", has_text="project.nap")).to_contain_text("STARTED")
    picture(page, "tasks")

    page.goto("/broker")
    cells = page.locator("#queue-table tbody tr", has_text=QUEUE).locator("td")
    # Queue, messages, unacked, ready, consumers, idle since.
    expect(cells).to_have_text([QUEUE, "1", "1", "0", "1", "—"])
    expect(page.locator(".broker-url")).to_contain_text("kafka://")
    picture(page, "broker")

    page.goto(f"/task/{task_id}")
    expect(page.get_by_text("[40, 2]")).to_be_visible()
    expect(page.locator("body")).to_contain_text(WORKER)
    picture(page, "task")

    page.goto(f"/worker/{WORKER}")
    expect(page.locator("#workername")).to_have_text(WORKER)
    page.locator("#pool-size").fill("3")
    page.get_by_role("button", name="Grow").click()
    expect(page.get_by_text(re.compile(f"Growing .*{WORKER}"))).to_be_visible()
    picture(page, "worker")

    flower.post(f"/api/task/revoke/{running}", terminate="true")
    flower.wait_for_state(running, "REVOKED")
    page.goto("/broker")
    expect(cells).to_have_text([QUEUE, "0", "0", "0", "1", "—"])
