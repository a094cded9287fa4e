"""What a job's owner sees of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from respond_async import (
    ConfigurationError,
    Job,
    Jobs,
    Status,
    TaskError,
    cancel_task,
    list_tasks,
    task_logs,
    update_progress,
    wait_for_task,
    watch,
)
from respond_async.jobs.calling_back import signature
from respond_async.jobs.scripts import PREFIX
from tests.integration.respond_async_jobs.conftest import Client
from tests.support.jobs import functions
from tests.support.waiting import wait_until
from ws_hub import redis_channel, user_channel

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture(autouse=True)
def these_jobs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("respond_async.jobs.runtime._current", client.jobs)


def test_progress_is_kept_and_pushed_but_not_each_step(client: Client) -> None:
    channel = user_channel("watcher")
    heard: list[dict[str, Any]] = []
    pubsub: Any
    with client.store.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe(redis_channel(channel))
        assert pubsub.get_message(timeout=5)
        job = client.create(functions.counting, "counting", 2000, channel=channel)
        client.wait_for("counting", ["counted"])

        def counted() -> Job | None:
            now = client.get(job.id)
            return now if now.progress and now.progress.current == 2000 else None

        running = wait_until(counted, within=10, what="the progress")
        assert running.progress is not None
        assert (running.progress.percent, running.progress.message) == (100.0, "at 2000")
        assert running.status is Status.RUNNING
        client.store.rpush("counting", "go on")
        ended = client.ended(job)
        assert ended.progress is not None
        assert ended.progress.message == "all of them"
        while message := pubsub.get_message(timeout=0.5):
            text = message["data"]
            heard.append(json.loads(json.loads(text[text.index("{") :])["data"]))
    told = [each for each in heard if each["task_id"] == job.id]
    assert {each["action"] for each in told} == {"task"}
    assert [each["version"] for each in told] == sorted(each["version"] for each in told)
    assert (told[0]["status"], told[-1]["status"]) == ("PENDING", "COMPLETED")
    assert any(each.get("progress", {}).get("current") == 2000 for each in told)
    assert len(told) < 30


def test_a_progress_outside_of_a_job_is_nothing_and_one_over_100_is_refused() -> None:
    update_progress(3, 4)
    update_progress(0, 0)
    for current, total in ((101, None), (5, 4), (-1, 4)):
        with pytest.raises(ValueError, match="progress"):
            update_progress(current, total)


def test_a_job_is_waited_for_and_watched(client: Client) -> None:
    async def seen(job_id: str) -> list[Status]:
        return [job.status async for job in watch(job_id)]

    job = client.create(functions.flaky, "watched", 1)
    assert client.run(wait_for_task(job.id, 20)).status is Status.COMPLETED
    statuses = client.run(seen(client.create("jobs.doubled", 1, delay=0.5).id))
    assert statuses[0] is Status.PENDING
    assert statuses[-1] is Status.COMPLETED
    forever = client.create(functions.forever, "waited")
    with pytest.raises(TimeoutError):
        client.run(wait_for_task(forever.id, 0.2))
    client.run(cancel_task(forever.id))
    assert client.run(wait_for_task(forever.id, 20)).status is Status.CANCELLED


def test_a_job_keeps_what_it_logged(client: Client) -> None:
    words = [f"word-{number}" for number in range(1100)]
    job = client.ended(client.create(functions.talking, words))
    lines = client.run(task_logs(job.id))
    assert [line.message for line in lines] == [f"said {word}" for word in words[-1000:]]
    assert lines[0].level == "WARNING"
    assert job.started is not None
    assert abs(lines[0].time - job.started) < timedelta(minutes=1)
    assert "word" not in str(client.store.lrange(f"{PREFIX}log:{job.id}", 0, -1))


def test_jobs_are_listed_by_what_is_asked_for(client: Client) -> None:
    mine, others = user_channel("lister"), user_channel("somebody")
    made = [
        client.create("jobs.doubled", number, channel=mine, name=f"n{number % 2}")
        for number in range(7)
    ]
    client.create("jobs.doubled", 1, channel=others, name="n1")
    for job in made:
        client.ended(job)
    waiting = client.create("jobs.doubled", 1, channel=mine, name="n1", delay=60)

    def listed(**asked: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = client.run(list_tasks(channel=mine, limit=2, cursor=cursor, **asked))
            assert len(page.jobs) <= 2
            found += [job.id for job in page.jobs]
            cursor = page.cursor
            if cursor is None:
                return found

    newest_first = [job.id for job in reversed(made)]
    assert listed() == [waiting.id, *newest_first]
    assert listed(status=Status.PENDING) == [waiting.id]
    assert listed(status=Status.COMPLETED) == newest_first
    assert listed(name="n1", status=Status.COMPLETED) == [job.id for job in made[5::-2]]
    assert listed(created_to=made[2].created) == newest_first[-3:]
    assert listed(created_from=made[5].created) == [waiting.id, *newest_first[:2]]
    assert len(client.run(list_tasks(name="n1")).jobs) == 5
    for wrong in ({"cursor": "x"}, {"limit": 0}, {"created_to": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(TaskError) as refused:
            client.run(list_tasks(**wrong))
        assert refused.value.code == "invalid_arguments"
    client.run(cancel_task(waiting.id))


def test_what_is_called_at_the_end_is_called_again_if_it_failed(client: Client) -> None:
    job = client.create(functions.heard, 5, name="callback")
    client.wait_for("heard-callback", ["COMPLETED 5", "COMPLETED 5"])
    wait_until(lambda: client.get(job.id).callbacks == "done", within=5, what="it is settled")
    # One that a worker never had ends too.
    job = client.create(functions.heard, 5, name="cancelled", delay=60)
    assert job.callbacks == "owed"
    client.run(cancel_task(job.id))
    client.wait_for("heard-cancelled", ["CANCELLED None", "CANCELLED None"])


@contextmanager
def receiver(answers: list[int]) -> Iterator[tuple[str, list[tuple[Any, bytes]]]]:
    got: list[tuple[Any, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.headers, body))
            self.send_response(answers[min(len(got), len(answers)) - 1])
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", got
        finally:
            server.shutdown()
            thread.join()


def test_a_webhook_is_signed_and_sent_until_it_is_taken(client: Client) -> None:
    with receiver([503, 200]) as (url, got):
        job = client.create("jobs.doubled", 4, webhook=url)
        wait_until(lambda: client.get(job.id).callbacks == "done", within=20, what="it was taken")
    assert len(got) == 2
    headers, body = got[1]
    assert headers["webhook-id"] == job.id
    timestamp = int(headers["webhook-timestamp"])
    assert abs(timestamp - datetime.now(UTC).timestamp()) < 60
    secret = functions.CONFIG.webhook_secret
    assert headers["webhook-signature"] == signature(secret, job.id, timestamp, body)
    data = json.loads(body)["data"]
    assert (data["task_id"], data["status"], data["result"]) == (job.id, "COMPLETED", 8)


def test_a_webhook_that_is_gone_is_given_up(client: Client) -> None:
    with receiver([410]) as (url, got):
        job = client.create("jobs.doubled", 4, webhook=url)
        wait_until(lambda: client.get(job.id).callbacks == "failed", within=20, what="given up")
    assert len(got) == 1


def test_a_webhook_needs_a_secret(client: Client) -> None:
    without = Jobs("no.such:app", client.jobs.settings)
    with pytest.raises(ConfigurationError, match="webhook_secret"):
        client.run(without.create("jobs.doubled", 1, webhook="http://localhost"))


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # Made with openssl: printf 'id.1.{}' | openssl dgst -sha256 -hmac secret -binary | base64
    assert signature("secret", "id", 1, b"{}") == (
        "v1,490pAcC1LQ1k1cOcmH0da199+A88OKCj0Io4WnJlp68="
    )
