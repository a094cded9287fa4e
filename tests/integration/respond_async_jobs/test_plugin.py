"""The fixtures for projects' own tests: what they say of a job is what a worker would say."""

import asyncio
import logging
import threading
import time
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends

from respond_async import (
    Job,
    RetryOn,
    Status,
    TaskConfig,
    TaskError,
    create_task,
    get_task,
    list_tasks,
    task,
    update_progress,
)
from respond_async.jobs.testing.clock import Clock
from respond_async.jobs.testing.harness import JobsOfTest

logger = logging.getLogger(__name__)
calls: list[str] = []
# Each script takes a microsecond of the test's clock.
MOMENT = timedelta(milliseconds=1)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@task(name="plugin.counted")
async def counted(number: int) -> int:
    for done in range(number):
        update_progress(done + 1, number)
    logger.info("counted to %d", number)
    return number


@task(name="plugin.plain")
def plain(text: str) -> str:
    return text * 2


@task(name="plugin.failing")
async def failing() -> None:
    raise TaskError("no_luck", "Not today.", {"day": 13})


@task(name="plugin.sleeping", timeout=600)
async def sleeping(seconds: float) -> str:
    calls.append("began")
    try:
        await asyncio.sleep(seconds)
    finally:
        calls.append("left")
    return "slept"


@task(name="plugin.flaky", retry=[RetryOn(exceptions=(ConnectionError,), attempts=3, delay=60)])
async def flaky(fails: int) -> int:
    calls.append("tried")
    if len(calls) <= fails:
        raise ConnectionError("again")
    return len(calls)


async def resource() -> str:
    return "injected"


async def hear(job: Job) -> None:
    calls.append(f"{job.status} {job.result}")
    if calls.count(calls[-1]) == 1:
        raise ConnectionError("not yet")


@task(name="plugin.heard", on_end=hear)
async def heard(given: Annotated[str, Depends(resource)]) -> str:
    return given


@task(name="plugin.parent")
async def parent() -> str:
    child = await create_task(plain, "a")
    assert child.status is Status.COMPLETED
    return str(child.result)


@task(name="plugin.where")
def where() -> str:
    return threading.current_thread().name


def test_an_eager_job_has_ended_once_it_is_created(eager_jobs: JobsOfTest) -> None:
    job = eager_jobs.create(counted, 3)
    assert (job.status, job.result, job.attempts) == (Status.COMPLETED, 3, 1)
    assert job.progress is not None
    assert (job.progress.current, job.progress.total) == (3, 3)
    assert job.started is not None
    assert job.completed is not None
    assert job.created <= job.started <= job.completed
    assert [line.message for line in eager_jobs.logs(job.id)] == ["counted to 3"]
    assert eager_jobs.create(plain, "ab").result == "abab"
    assert eager_jobs.create(parent).result == "aa"
    failed = eager_jobs.create(failing)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.details) == ("no_luck", {"day": 13})
    with pytest.raises(TaskError, match="number"):
        eager_jobs.create(counted, "many")
    page = eager_jobs.run(list_tasks(status=Status.COMPLETED))
    assert len(page.jobs) == 4


def test_a_limit_of_time_is_real_without_a_clock(eager_jobs: JobsOfTest) -> None:
    began = time.monotonic()
    job = eager_jobs.create(sleeping, 60, timeout=0.2)
    assert (job.status, calls) == (Status.TIMEOUT, ["began", "left"])
    assert time.monotonic() - began < 5


def test_it_works_from_a_coroutine_and_delays_are_kept(eager_jobs: JobsOfTest) -> None:
    async def made() -> tuple[Job, Job]:
        late = await create_task(plain, "b", delay=0.2)
        return await create_task(plain, "a"), late

    job, late = eager_jobs.run(made())
    assert (job.result, late.status) == ("aa", Status.PENDING)
    assert eager_jobs.wait(late.id).result == "bb"


def test_time_passes_for_a_job_only_if_the_test_says_so(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    began = jobs_clock.now
    job = eager_jobs.create(sleeping, 100)
    assert (job.status, calls) == (Status.RUNNING, ["began"])
    jobs_clock.advance(99)
    assert eager_jobs.get(job.id).status is Status.RUNNING
    jobs_clock.advance(1)
    job = eager_jobs.get(job.id)
    assert (job.status, job.result) == (Status.COMPLETED, "slept")
    assert job.started is not None
    assert job.completed is not None
    assert job.started - began < MOMENT
    assert abs(job.completed - job.started - timedelta(seconds=100)) < MOMENT


def test_a_job_over_its_limit_is_a_timeout_at_that_time(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    job = eager_jobs.create(sleeping, 3600)
    jobs_clock.advance(timedelta(hours=5))
    job = eager_jobs.get(job.id)
    assert job.status is Status.TIMEOUT
    assert job.started is not None
    assert job.completed is not None
    assert abs(job.completed - job.started - timedelta(seconds=600)) < MOMENT
    assert calls == ["began", "left"]


def test_what_sleeps_is_cancelled_and_what_is_pending_never_begins(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    running = eager_jobs.create(sleeping, 60)
    pending = eager_jobs.create(sleeping, 60, delay=60)
    assert eager_jobs.cancel(running.id).status is Status.CANCELLED
    assert eager_jobs.cancel(pending.id).status is Status.CANCELLED
    jobs_clock.advance(1000)
    assert calls == ["began", "left"]


def test_delays_retries_callbacks_and_forgetting_go_by_the_clock(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    late = eager_jobs.create(plain, "a", delay=3600)
    tried = eager_jobs.create(flaky, 2)
    assert (tried.status, tried.attempts) == (Status.RUNNING, 1)
    assert tried.retry_at is not None
    jobs_clock.advance(70)
    assert eager_jobs.get(tried.id).attempts == 2
    jobs_clock.advance(140)
    tried = eager_jobs.get(tried.id)
    assert (tried.status, tried.result, tried.attempts) == (Status.COMPLETED, 3, 3)
    jobs_clock.advance(3600)
    assert eager_jobs.get(late.id).result == "aa"
    calls.clear()
    told = eager_jobs.create(heard)
    assert (calls, told.callbacks) == (["COMPLETED injected"], "owed")
    jobs_clock.advance(2)
    assert calls == ["COMPLETED injected"] * 2
    assert eager_jobs.get(told.id).callbacks == "done"
    jobs_clock.advance(timedelta(days=2))
    with pytest.raises(TaskError, match="no such job"):
        eager_jobs.get(late.id)


class TestLimits:
    @pytest.fixture
    def jobs_config(self) -> TaskConfig:
        return TaskConfig(max_concurrent_tasks=1)

    def test_what_finds_no_room_waits_until_there_is(
        self, eager_jobs: JobsOfTest, jobs_clock: Clock
    ) -> None:
        first, second = eager_jobs.create(sleeping, 10), eager_jobs.create(sleeping, 10)
        assert (first.status, second.status) == (Status.RUNNING, Status.PENDING)
        jobs_clock.advance(15)
        assert eager_jobs.get(first.id).status is Status.COMPLETED
        assert eager_jobs.get(second.id).status is Status.RUNNING
        jobs_clock.advance(15)
        assert eager_jobs.get(second.id).status is Status.COMPLETED


class TestErrors:
    @pytest.fixture
    def jobs_config(self) -> TaskConfig:
        return TaskConfig(keep_tracebacks=True)

    def test_a_traceback_is_kept_where_it_may_be(self, eager_jobs: JobsOfTest) -> None:
        error = eager_jobs.create(failing).error
        assert error is not None
        assert error.traceback is not None
        assert 'raise TaskError("no_luck"' in error.traceback


def test_a_job_that_is_run_again_is_as_the_first_one(
    eager_jobs: JobsOfTest, jobs_clock: Clock
) -> None:
    first = eager_jobs.create(sleeping, 60, concurrency_key="k", idempotent=False)
    eager_jobs.cancel(first.id)
    again = eager_jobs.run(eager_jobs.jobs.retry(first.id))
    assert (again.status, again.idempotent) == (Status.RUNNING, False)
    # The key counts still: one of it runs at a time.
    assert eager_jobs.create(sleeping, 60, concurrency_key="k").status is Status.PENDING
    failed = eager_jobs.create(failing)
    assert failed.error is not None
    assert failed.error.traceback is None


def test_a_worker_in_the_process_runs_jobs(jobs_worker: JobsOfTest) -> None:
    job = jobs_worker.wait(jobs_worker.create(counted, 3).id)
    assert (job.status, job.result) == (Status.COMPLETED, 3)
    assert [line.message for line in jobs_worker.logs(job.id)] == ["counted to 3"]
    assert jobs_worker.wait(jobs_worker.create(where).id).result != "MainThread"
    forever = jobs_worker.create(sleeping, 600)
    while jobs_worker.get(forever.id).status is Status.PENDING:
        time.sleep(0.01)
    jobs_worker.cancel(forever.id)
    assert jobs_worker.wait(forever.id).status is Status.CANCELLED
    late = jobs_worker.create(sleeping, 600, timeout=0.2)
    assert jobs_worker.wait(late.id).status is Status.TIMEOUT
    chained: Any = plain.s("a") | plain.s()
    assert chained.apply_async().get(timeout=10) == "aaaa"


def test_a_clock_moves_a_workers_delays(jobs_worker: JobsOfTest, jobs_clock: Clock) -> None:
    job = jobs_worker.create(plain, "a", delay=3600)
    jobs_clock.advance(3599)
    assert jobs_worker.get(job.id).status is Status.PENDING
    jobs_clock.advance(1)
    job = jobs_worker.wait(job.id)
    assert job.started is not None
    assert abs(job.started - job.created - timedelta(hours=1)) < MOMENT


def test_what_the_fixtures_replaced_is_put_back(eager_jobs: JobsOfTest) -> None:
    from respond_async.jobs import scripts

    assert "test_clock" not in scripts.CREATE.text
    assert "redis.call('time')" in scripts.CREATE.text
    assert eager_jobs.run(get_task(eager_jobs.create(plain, "a").id)).result == "aa"
