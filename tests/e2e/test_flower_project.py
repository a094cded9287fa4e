"""All of Flower on a user's own project: one line in its configuration file, a worker on `kafka://`."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.flower import QUEUE, Flower, Project
from tests.support.waiting import wait_until
from tests.support.workers import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

WITHIN = 30
WORKER = "w1@test"


@pytest.fixture(scope="module")
def project(kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    directory = tmp_path_factory.mktemp("project")
    return Project(directory, kafka, redis_url, worker_pool_restarts=True)


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator[Worker]:
    with project.worker("w1") as running:
        yield running


@pytest.fixture(scope="module")
def flower(project: Project, worker: Worker) -> Iterator[Flower]:
    with project.flower() as running:
        running.wait_for_worker(WORKER)
        yield running


def stats(flower: Flower) -> dict[str, Any]:
    found: dict[str, Any] = flower.get("/api/workers", refresh="1", workername=WORKER)[WORKER]
    return found


def pool_size(flower: Flower) -> int:
    return int(stats(flower)["stats"]["pool"]["max-concurrency"])


def send(flower: Flower, name: str, *args: object, **options: object) -> str:
    answer = flower.post(f"/api/task/async-apply/project.{name}", {"args": args, **options})
    return str(answer["task-id"])


def wait_for_queue(flower: Flower, **numbers: int) -> None:
    def so() -> bool:
        row = flower.queues().get(QUEUE, {})
        return all(row.get(name) == number for name, number in numbers.items())

    wait_until(so, within=WITHIN, what=f"{QUEUE} with {numbers}, not {flower.queues()}")


def test_the_worker_is_listed_with_what_it_tells_of_itself(flower: Flower) -> None:
    wait_until(lambda: flower.alive().get(WORKER), within=WITHIN, what="its heartbeat")
    told = stats(flower)
    assert told["stats"]["broker"]["transport"] == "kafka"
    assert [queue["name"] for queue in told["active_queues"]] == [QUEUE]
    assert any(task.startswith("project.nap") for task in told["registered"])


def test_a_task_is_sent_and_its_result_read(flower: Flower) -> None:
    task_id = send(flower, "add", 2, 3)
    assert flower.get(f"/api/task/result/{task_id}", timeout="20")["result"] == 5
    # Where it waited, Flower tells the state of before.
    assert flower.get(f"/api/task/result/{task_id}")["state"] == "SUCCESS"
    assert (
        flower.post("/api/task/apply/project.add", {"args": [1, 1], "timeout": 20})["result"] == 2
    )
    sent = flower.post("/api/task/send-task/project.add", {"args": [4, 4]})["task-id"]
    assert flower.get(f"/api/task/result/{sent}", timeout="20")["result"] == 8
    seen = flower.wait_for_state(task_id, "SUCCESS")
    assert (seen["name"], seen["args"], seen["worker"]) == ("project.add", "[2, 3]", WORKER)


def test_a_failed_task_is_shown_with_its_error(flower: Flower) -> None:
    seen = flower.wait_for_state(send(flower, "fail"), "FAILURE")
    assert seen["exception"] == "ValueError('as it was asked to')"
    assert "Traceback" in seen["traceback"]


def test_the_broker_tab_tells_what_waits_what_runs_and_who_consumes(flower: Flower) -> None:
    wait_for_queue(flower, messages=0, messages_unacknowledged=0, consumers=1)
    running = [send(flower, "nap", 60) for _ in range(4)]
    wait_for_queue(flower, messages=4, messages_ready=0, messages_unacknowledged=4)
    waiting = [send(flower, "add", 1, 1) for _ in range(3)]
    # The prefetch of four is one a slot: the others wait in Kafka.
    wait_for_queue(flower, messages=7, messages_ready=3, messages_unacknowledged=4)
    later = send(flower, "add", 1, 1, countdown=600)
    wait_for_queue(flower, messages=8, messages_ready=3, messages_delayed=1)
    flower.post(f"/api/task/revoke/{later}")
    for each in running:
        flower.post(f"/api/task/revoke/{each}", terminate="true")
    for each in waiting:
        flower.wait_for_state(each, "SUCCESS")
    wait_for_queue(flower, messages=1, messages_ready=0, messages_unacknowledged=0)
    assert flower.queues()[QUEUE]["messages_delayed"] == 1


def test_a_running_task_is_terminated_and_a_waiting_one_revoked(flower: Flower) -> None:
    running = send(flower, "nap", 600)
    flower.wait_for_state(running, "STARTED")
    flower.post(f"/api/task/revoke/{running}", terminate="true")
    flower.wait_for_state(running, "REVOKED")
    assert flower.get(f"/api/task/result/{running}")["state"] == "REVOKED"

    waiting = send(flower, "nap", 600, countdown=3)
    flower.post(f"/api/task/revoke/{waiting}")
    flower.wait_for_state(waiting, "REVOKED")


def test_the_pool_grows_and_shrinks(flower: Flower) -> None:
    flower.post(f"/api/worker/pool/grow/{WORKER}", n="2")
    wait_until(lambda: pool_size(flower) == 6, within=WITHIN, what="six slots")
    flower.post(f"/api/worker/pool/shrink/{WORKER}", n="2")
    wait_until(lambda: pool_size(flower) == 4, within=WITHIN, what="four slots")


def test_the_pool_restarts(flower: Flower, worker: Worker) -> None:
    flower.post(f"/api/worker/pool/restart/{WORKER}")
    worker.wait_for("the pool has restarted")
    after = send(flower, "add", 6, 1)
    assert flower.get(f"/api/task/result/{after}", timeout="20")["result"] == 7


def test_a_consumer_is_cancelled_and_added(flower: Flower) -> None:
    wait_for_queue(flower, consumers=1)
    flower.post(f"/api/worker/queue/cancel-consumer/{WORKER}", queue=QUEUE)
    wait_for_queue(flower, consumers=0)
    waits = send(flower, "add", 20, 22)
    wait_for_queue(flower, messages_ready=1)
    flower.post(f"/api/worker/queue/add-consumer/{WORKER}", queue=QUEUE)
    assert flower.get(f"/api/task/result/{waits}", timeout="20")["result"] == 42
    wait_for_queue(flower, messages_ready=0, consumers=1)


def test_a_queue_that_is_new_is_consumed_and_shown(flower: Flower) -> None:
    flower.post(f"/api/worker/queue/add-consumer/{WORKER}", queue="more")
    sent = send(flower, "add", 1, 2, queue="more")
    assert flower.get(f"/api/task/result/{sent}", timeout="20")["result"] == 3
    stats(flower)
    wait_until(lambda: flower.queues().get("more"), within=WITHIN, what="the new queue")
    flower.post(f"/api/worker/queue/cancel-consumer/{WORKER}", queue="more")


def test_a_rate_limit_holds_tasks_back(flower: Flower) -> None:
    # One a minute: of two the second has to wait.
    flower.post("/api/task/rate-limit/project.add", workername=WORKER, ratelimit="1/m")
    try:
        sent = [send(flower, "add", 1, number) for number in range(2)]
        wait_until(lambda: flower.task(sent[1]), within=WITHIN, what="the second task's arrival")
        wait_until(
            lambda: "SUCCESS" in {flower.task(each)["state"] for each in sent},
            within=WITHIN,
            what="the first one's end",
        )
        assert {flower.task(each)["state"] for each in sent} == {"SUCCESS", "RECEIVED"}
    finally:
        flower.post("/api/task/rate-limit/project.add", workername=WORKER, ratelimit="0")


def test_a_time_limit_ends_a_task(flower: Flower) -> None:
    flower.post("/api/task/timeout/project.nap", workername=WORKER, hard="1")
    try:
        seen = flower.wait_for_state(send(flower, "nap", 600), "FAILURE")
        # What Celery's event has as the exception of a hard limit is the name of a wrapper.
        assert "TimeLimitExceeded(1.0" in seen["traceback"]
    finally:
        flower.post("/api/task/timeout/project.nap", workername=WORKER)


def test_flowers_own_metrics_count_the_events(flower: Flower) -> None:
    task_id = send(flower, "add", 5, 5)
    flower.wait_for_state(task_id, "SUCCESS")
    text = flower.client.get("/metrics").text
    assert f'flower_worker_online{{worker="{WORKER}"}} 1.0' in text
    assert f'type="task-succeeded",worker="{WORKER}"' in text


def test_a_login_is_asked_for(project: Project, flower: Flower) -> None:
    with project.flower(
        FLOWER_BASIC_AUTH="ann:one,bob:two", FLOWER_UNAUTHENTICATED_API="false"
    ) as guarded:
        for path in ("/api/workers", "/broker", "/api/queues/length"):
            assert guarded.client.get(path).status_code == 401
            assert guarded.client.get(path, auth=("ann", "two")).status_code == 401
            assert guarded.client.get(path, auth=("bob", "two")).status_code == 200


def test_without_a_login_the_api_is_shut(project: Project, flower: Flower) -> None:
    with project.flower(FLOWER_UNAUTHENTICATED_API="false") as shut:
        assert shut.client.get("/api/workers").status_code == 401


def test_a_worker_is_shut_down(flower: Flower, worker: Worker) -> None:
    # The last test: nobody works after it.
    assert worker.process is not None
    flower.post(f"/api/worker/shutdown/{WORKER}")
    assert worker.process.wait(WITHIN) == 0
    wait_until(lambda: flower.alive().get(WORKER) is False, within=WITHIN, what="offline")
    wait_for_queue(flower, consumers=0)
