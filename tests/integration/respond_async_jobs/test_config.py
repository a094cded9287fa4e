"""Each setting of TaskConfig does what it says, in a worker that has it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from respond_async import Jobs, Settings, Status, TaskConfig, TaskError, list_tasks, task_logs
from respond_async.jobs.scripts import PREFIX
from tests.integration.respond_async_jobs.conftest import Client, new_worker
from tests.integration.respond_async_jobs.test_limits import most_at_once
from tests.support.jobs import functions
from tests.support.waiting import wait_until


@contextmanager
def configured(
    client: Client, celery: Celery, settings: Settings, directory: Path, **config: Any
) -> Iterator[Client]:
    client.store.flushall()
    jobs = Jobs(celery, settings, TaskConfig(**config))
    mine = Client(jobs, client._runner, client.store)
    try:
        with new_worker(directory, settings.redis_url, "c", JOBS_CONFIG=json.dumps(config)):
            yield mine
    finally:
        client.run(jobs.close())


def test_limit_of_time_of_number_of_history_and_of_logs(
    client: Client, celery: Celery, settings: Settings, tmp_path: Path
) -> None:
    config = {
        "default_timeout": 0.5,
        "max_concurrent_tasks": 2,
        "max_task_history": 3,
        "cleanup_interval": 0.5,
        "log_level": "ERROR",
    }
    with configured(client, celery, settings, tmp_path, **config) as mine:
        quiet = mine.create(functions.talking, ["word"])
        assert mine.ended(quiet).status is Status.COMPLETED
        assert mine.run(task_logs(quiet.id)) == []
        assert mine.ended(mine.create(functions.forever, "limit")).status is Status.TIMEOUT
        jobs = [mine.create(functions.crowded, "crowd") for _ in range(8)]
        wait_until(lambda: len(mine.noted("crowd")) == 16, within=20, what="all of them ran")
        assert most_at_once(mine.noted("crowd")) == 2
        ended = f"{PREFIX}ended"
        wait_until(lambda: mine.store.zcard(ended) == 3, within=10, what="only three are kept")
        kept = {job.id for job in mine.run(list_tasks()).jobs}
        assert kept <= {job.id for job in jobs}
        assert len(kept) == 3
        with pytest.raises(TaskError, match="no such job"):
            mine.get(quiet.id)


def test_what_has_ended_is_forgotten_after_its_time(
    client: Client, celery: Celery, settings: Settings, tmp_path: Path
) -> None:
    config = {"task_result_ttl": 1, "cleanup_interval": 0.2}
    with configured(client, celery, settings, tmp_path, **config) as mine:
        job = mine.create("jobs.doubled", 1)
        wait_until(
            lambda: not mine.store.exists(f"{PREFIX}job:{job.id}"), within=10, what="it is gone"
        )
        assert mine.store.keys(f"{PREFIX}in:*") == []


def test_without_history_a_job_is_known_by_its_id_alone(
    client: Client, celery: Celery, settings: Settings, tmp_path: Path
) -> None:
    config = {"enable_task_history": False, "task_result_ttl": 3}
    with configured(client, celery, settings, tmp_path, **config) as mine:
        job = mine.ended(mine.create("jobs.doubled", 1))
        assert job.result == 2
        assert mine.run(list_tasks()).jobs == []
        wait_until(
            lambda: not mine.store.exists(f"{PREFIX}job:{job.id}"), within=10, what="it is gone"
        )
