"""Schedules: once for each time, whoever fires them, whatever happens in between."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from respond_async import (
    AsyncRequests,
    Job,
    Settings,
    Status,
    TaskConfig,
    TaskError,
    create_schedule,
    delete_schedule,
    edit_schedule,
    get_schedule,
    install_tasks,
    list_schedules,
    list_tasks,
    pause_schedule,
    resume_schedule,
    task,
)
from respond_async.jobs import schedule_scripts
from respond_async.jobs.prelude import PREFIX
from respond_async.jobs.record import read_fields
from respond_async.jobs.schedules import firing
from respond_async.jobs.testing.clock import Clock
from respond_async.jobs.testing.harness import JobsOfTest
from tests.integration.respond_async_jobs.conftest import Client, new_worker
from tests.support.waiting import wait_until
from ws_hub import TokenVerifier

SCHEDULES = "/api/v1/schedules/"
BERLIN = ZoneInfo("Europe/Berlin")


@task(name="schedules.told", public=True)
async def told(word: str) -> str:
    return word


def made_by(jobs: JobsOfTest, schedule_id: str) -> list[Job]:
    page = jobs.run(list_tasks(name="schedules.told", limit=1000))
    return [job for job in reversed(page.jobs) if job.schedule == schedule_id]


def test_a_schedule_makes_a_job_at_each_of_its_times(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    jobs_clock.move_to(datetime(2030, 1, 1, 12, 2, tzinfo=UTC))
    made = eager_jobs.run(create_schedule(told, "a", cron="*/5 * * * *"))
    assert (made.next, made.fired) == (datetime(2030, 1, 1, 12, 5, tzinfo=UTC), 0)
    jobs_clock.advance(timedelta(minutes=18))
    jobs = made_by(eager_jobs, made.id)
    assert [(job.status, job.result) for job in jobs] == [(Status.COMPLETED, "a")] * 4
    assert [job.created.minute for job in jobs] == [5, 10, 15, 20]
    now = eager_jobs.run(get_schedule(made.id))
    assert (now.fired, now.last_job) == (4, jobs[-1].id)
    assert now.last == datetime(2030, 1, 1, 12, 20, tzinfo=UTC)


def test_it_is_paused_resumed_edited_and_deleted(eager_jobs: JobsOfTest, jobs_clock: Clock) -> None:
    jobs_clock.move_to(datetime(2030, 1, 1, 12, 2, tzinfo=UTC))
    run = eager_jobs.run
    made = run(create_schedule(told, "a", every=60))
    jobs_clock.advance(90)
    assert run(pause_schedule(made.id)).next is None
    jobs_clock.advance(600)
    assert len(made_by(eager_jobs, made.id)) == 1
    resumed = run(resume_schedule(made.id))
    assert resumed.next is not None
    assert resumed.next > jobs_clock.now
    renamed = run(edit_schedule(made.id, missed="skip"))
    assert renamed.next == resumed.next
    edited = run(edit_schedule(made.id, cron="0 * * * *", arguments={"word": "b"}))
    assert (edited.next, edited.arguments) == (
        datetime(2030, 1, 1, 13, tzinfo=UTC),
        {"word": "b"},
    )
    jobs_clock.advance(3600)
    assert [job.result for job in made_by(eager_jobs, made.id)] == ["a", "b"]
    assert [each.id for each in run(list_schedules())] == [made.id]
    for wrong in ({"cron": "every day"}, {"timezone": "Nowhere"}, {"arguments": {"no": 1}}):
        with pytest.raises(TaskError):
            run(edit_schedule(made.id, **wrong))
    run(delete_schedule(made.id))
    jobs_clock.advance(7200)
    assert len(made_by(eager_jobs, made.id)) == 2
    assert run(list_schedules()) == []


def test_in_the_night_in_which_clocks_change_it_is_due_once(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    jobs_clock.move_to(datetime(2030, 10, 26, 12, tzinfo=BERLIN))
    made = eager_jobs.run(create_schedule(told, "a", cron="30 2 * * *", timezone="Europe/Berlin"))
    for day in (27, 28):
        # What is older than a day is forgotten meanwhile.
        jobs_clock.advance(timedelta(days=1))
        at = [job.created.astimezone(BERLIN) for job in made_by(eager_jobs, made.id)]
        assert [(each.day, each.hour, each.minute) for each in at] == [(day, 2, 30)]


@pytest.mark.parametrize(("missed", "expected"), [("run_once", 1), ("skip", 0)])
def test_times_at_which_no_worker_was_there(
    eager_jobs: JobsOfTest, jobs_clock: Clock, missed: Any, expected: int
) -> None:
    made = eager_jobs.run(create_schedule(told, "a", every=300, missed=missed))
    # Nobody looks meanwhile: the clock of the scripts alone goes on.
    eager_jobs._redis.incrby(f"{PREFIX}test_clock", 3_000_000_000)
    jobs_clock.advance(1)
    assert len(made_by(eager_jobs, made.id)) == expected
    now = eager_jobs.run(get_schedule(made.id))
    assert (now.fired, now.skipped) == (expected, 1 - expected)
    assert now.next is not None
    assert now.next > jobs_clock.now
    jobs_clock.advance(600)
    assert len(made_by(eager_jobs, made.id)) == expected + 2


def test_of_two_workers_that_see_it_due_one_fires_it_and_none_what_was_edited(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    made = eager_jobs.run(create_schedule(told, "a", every=300))
    eager_jobs._redis.incrby(f"{PREFIX}test_clock", 301_000_000)
    worker = eager_jobs._worker
    now, due = worker._run(schedule_scripts.DUE, 10)
    first, second = (firing(read_fields(due[0]), int(now), worker.jobs) for _ in range(2))
    assert first is not None
    assert second is not None
    eager_jobs.run(edit_schedule(made.id, missed="skip"))
    assert worker._run(schedule_scripts.FIRE, *first.args) == 0
    now, due = worker._run(schedule_scripts.DUE, 10)
    first, second = (firing(read_fields(due[0]), int(now), worker.jobs) for _ in range(2))
    assert first is not None
    assert second is not None
    assert [worker._run(schedule_scripts.FIRE, *each.args) for each in (first, second)] == [1, 0]
    assert len(made_by(eager_jobs, made.id)) == 1


class TestOverHttp:
    @pytest.fixture
    def jobs_config(self) -> TaskConfig:
        return TaskConfig(max_schedules_per_owner=2)

    def test_an_owner_keeps_its_own(
        self, eager_jobs: JobsOfTest, jobs_clock: Clock, jobs_settings: Settings
    ) -> None:
        app = FastAPI()
        AsyncRequests(app, celery="no.worker:needed", settings=jobs_settings)
        install_tasks(app, eager_jobs.jobs)
        tokens = TokenVerifier(jobs_settings)
        alice, bob = (
            {"Authorization": f"Bearer {tokens.issue(name, 600)}"} for name in ("alice", "bob")
        )
        asked = {"name": "schedules.told", "arguments": {"word": "a"}, "cron": "*/5 * * * *"}
        with TestClient(app) as http:
            answer = http.post(SCHEDULES, json=asked, headers=alice)
            assert answer.status_code == 201, answer.text
            made = answer.json()
            url = answer.headers["location"]
            assert url == f"{SCHEDULES}{made['id']}/"
            assert "channel" not in made
            jobs_clock.advance(600)
            listed = http.get(SCHEDULES, headers=alice).json()["schedules"]
            assert [(each["id"], each["fired"]) for each in listed] == [(made["id"], 2)]
            tasks = http.get("/api/v1/tasks/", headers=alice).json()["tasks"]
            assert [each["schedule"] for each in tasks] == [made["id"]] * 2
            assert http.get(SCHEDULES, headers=bob).json()["schedules"] == []
            for method, path in (
                ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "pause"), ("POST", "resume"),
            ):  # fmt: skip
                call: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
                assert http.request(method, url + path, headers=bob, **call).status_code == 404
                assert http.request(method, url + path, **call).status_code == 401
            assert http.post(f"{url}pause", headers=alice).json()["next"] is None
            assert http.post(f"{url}resume", headers=alice).json()["next"] is not None
            changed = http.patch(url, json={"cron": "0 0 1 * *"}, headers=alice)
            assert changed.json()["cron"] == "0 0 1 * *"
            for wrong in (
                {**asked, "cron": "*/5 * * *"}, {**asked, "timezone": "Nowhere"},
                {**asked, "name": "jobs.doubled"}, {**asked, "arguments": {"channel": "user.bob"}},
            ):  # fmt: skip
                refused = http.post(SCHEDULES, json=wrong, headers=alice)
                assert refused.status_code == 422, refused.text
                assert refused.json()["code"].startswith("invalid_")
            assert http.post(SCHEDULES, json=asked, headers=alice).status_code == 201
            assert http.post(SCHEDULES, json=asked, headers=alice).status_code == 409
            assert http.post(SCHEDULES, json=asked, headers=bob).status_code == 201
            assert http.delete(url, headers=alice).status_code == 204
            assert http.get(url, headers=alice).status_code == 404


def test_two_workers_fire_each_time_once_and_a_restart_loses_no_schedule(
    client: Client, redis_url: str, tmp_path: Path
) -> None:
    client.store.flushall()
    schedules = client.jobs.schedules
    made = client.run(schedules.create("jobs.doubled", 4, every=1, name="ticking"))

    def fired() -> int:
        return client.run(schedules.get(made.id)).fired

    with new_worker(tmp_path, redis_url, "s1"), new_worker(tmp_path, redis_url, "s2"):
        wait_until(lambda: fired() >= 5, within=60, what="five times")
    before = client.run(schedules.get(made.id))
    time.sleep(2.5)  # Nobody is there: what is due meanwhile is missed.
    assert client.run(schedules.get(made.id)) == before
    with new_worker(tmp_path, redis_url, "s3"):
        wait_until(lambda: fired() >= before.fired + 3, within=60, what="three times more")
        now = client.run(schedules.pause(made.id))
        page = client.run(list_all(client))
        for job in page:
            assert client.ended(job).result == 8
    assert len(page) == now.fired >= 8
    assert all(job.schedule == made.id for job in page)
    # No time twice: there are as many seconds as jobs.
    assert made.next is not None
    assert now.last is not None
    assert (now.last - made.next).total_seconds() >= now.fired - 1


async def list_all(client: Client) -> list[Job]:
    from respond_async.jobs.reading import list_page

    page = await list_page(
        client.jobs, status=None, name="ticking", channel=None, created_from=None, created_to=None,
        limit=1000, cursor=None,
    )  # fmt: skip
    return page.jobs
