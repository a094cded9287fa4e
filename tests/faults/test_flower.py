"""Flower's numbers while a worker is killed: they are those of the results."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states

import kafka_transport
from tests.support.flower import QUEUE, Project
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.faults]

WITHIN = 120
TASKS = 10_000


def test_numbers_stay_right_while_one_of_two_workers_is_killed(
    kafka: str, redis_url: str, tmp_path: Path
) -> None:
    project = Project(
        tmp_path,
        kafka,
        redis_url,
        worker_concurrency=20,
        # So that Flower knows of each task whatever the killed worker takes along.
        task_send_sent_event=True,
    )
    with (
        project.worker("survivor"),
        project.worker("victim") as victim,
        project.flower() as flower,
        Celery("client", set_as_current=False) as client,
    ):
        client.conf.update(project.configuration)
        for name in ("survivor@test", "victim@test"):
            flower.wait_for_worker(name)
        wait_until(
            lambda: flower.queues()[QUEUE]["consumers"] == 2, within=WITHIN, what="two consumers"
        )
        results: Any = client.backend
        before = results.client.dbsize()
        # One in ten fails, so that there are two totals to be right.
        with kafka_transport.batch():
            sent = [
                client.send_task("project.fail")
                if number % 10 == 0
                else client.send_task("project.add", (number, 1))
                for number in range(TASKS)
            ]
        # By the results, not by Flower, which is behind: the workers could be done by then.
        wait_until(
            lambda: results.client.dbsize() - before > TASKS / 4,
            within=WITHIN,
            what="a quarter done",
        )
        victim.kill()
        left = flower.queues()[QUEUE]
        assert left["messages"] > 0, "the worker was killed when all was done"

        wait_until(
            lambda: flower.queues()[QUEUE]["messages"] == 0, within=WITHIN, what="an empty queue"
        )
        counted = Counter(each.state for each in sent)
        assert counted == {states.SUCCESS: TASKS - TASKS // 10, states.FAILURE: TASKS // 10}

        def shown() -> dict[str, int]:
            return {
                state: number
                for state in sorted(states.ALL_STATES)
                if (number := flower.count(f"state:{state}"))
            }

        wait_until(
            lambda: shown() == dict(counted), within=30, what=f"{dict(counted)}, not {shown()}"
        )
        assert flower.count() == TASKS
        wait_until(
            lambda: flower.alive() == {"survivor@test": True, "victim@test": False},
            within=30,
            what="the killed worker offline, the other one online",
        )
        queue = flower.queues()[QUEUE]
        assert (queue["messages"], queue["messages_unacknowledged"]) == (0, 0)
        assert (queue["dead_letters"], queue["oldest_seconds"]) == (0, None)
        wait_until(lambda: flower.queues()[QUEUE]["consumers"] == 1, within=30, what="one consumer")
