"""Async tasks are tasks, as Celery documents them."""

import pytest
from celery import chain, chord, group

from tests.integration.respond_async_pool.conftest import Project
from tests.support.waiting import wait_until
from tests.support.workers import Worker

Shared = tuple[Project, Worker]
WITHIN = 30


def test_an_async_task_gives_its_result(shared: Shared) -> None:
    assert shared[0].send("add", 2, 3).get(timeout=WITHIN) == 5


def test_a_plain_function_runs_beside_it_in_a_thread(shared: Shared) -> None:
    project, _ = shared
    assert project.send("plain_add", 2, 3).get(timeout=WITHIN) == 5
    assert "pool.task" in project.send("plain_where").get(timeout=WITHIN)
    assert project.send("where").get(timeout=WITHIN) == ["respond_async.pool.loop", True]


def test_the_request_is_there_in_whatever_the_task_starts(shared: Shared) -> None:
    results = [shared[0].send("who", 0.05) for _ in range(20)]
    for result in results:
        assert result.get(timeout=WITHIN) == [result.id] * 4


def test_a_retry_runs_again(shared: Shared) -> None:
    assert shared[0].send("succeeds_at", 2).get(timeout=WITHIN) == 2


def test_autoretry_sees_what_a_coroutine_raises(shared: Shared) -> None:
    assert shared[0].send("retries_itself", countdown=0).get(timeout=WITHIN) == 2


def test_chains_and_chords_mix_async_and_plain_tasks(shared: Shared) -> None:
    project, _ = shared
    add, plain, total = (
        project.client.signature(f"project.{name}") for name in ("add", "plain_add", "total")
    )
    result = chain(add.clone((1, 2)), plain.clone((3,)), add.clone((4,))).apply_async()
    assert result.get(timeout=WITHIN) == 10
    header = group([(add if n % 2 else plain).clone((n, n)) for n in range(10)])
    assert chord(header)(total).get(timeout=WITHIN) == 90


def test_a_task_publishes_others_without_holding_up_the_loop(shared: Shared) -> None:
    project, _ = shared
    result = project.send("calls", 30)
    *ids, own = result.get(timeout=WITHIN)
    assert own == result.id
    sums = [project.client.AsyncResult(each).get(timeout=WITHIN) for each in ids]
    assert sums == [n + n for n in range(30)]


def test_each_task_has_its_own_context_variables(shared: Shared) -> None:
    results = [shared[0].send("sets_variable", str(n)) for n in range(20)]
    for n, result in enumerate(results):
        assert result.get(timeout=WITHIN) == ["untouched", str(n)]


def test_a_function_without_await_awaits_on_the_loop(shared: Shared) -> None:
    project, _ = shared
    loop, thread = project.send("function_on_loop", 0.05).get(timeout=WITHIN)
    assert loop == "respond_async.pool.loop"
    assert "pool.io" in thread
    assert project.send("function_in_thread", 0.05).get(timeout=WITHIN) == loop


@pytest.mark.parametrize("task", ["raises", "plain_raises"])
@pytest.mark.parametrize(
    "kind", ["SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit"]
)
def test_what_would_end_a_process_ends_one_task(shared: Shared, task: str, kind: str) -> None:
    project, worker = shared
    result = project.send(task, kind)
    with pytest.raises(Exception, match=f"the task raised {kind}"):
        result.get(timeout=WITHIN)
    assert result.state == "FAILURE"
    assert project.send("add", 1, 1).get(timeout=WITHIN) == 2
    assert f"{task}[{result.id}] raised unexpected" in worker.output()


@pytest.mark.parametrize("task", ["raises", "plain_raises"])
def test_an_exception_that_cannot_be_pickled_is_a_failure(shared: Shared, task: str) -> None:
    result = shared[0].send(task, "CannotBePickledError")
    with pytest.raises(Exception, match="no way"):
        result.get(timeout=WITHIN)
    assert result.state == "FAILURE"


def test_signals_are_sent_for_async_tasks(shared: Shared) -> None:
    project, _ = shared
    result = project.send("add", 1, 1)
    result.get(timeout=WITHIN)
    wait_until(
        lambda: project.notes.hget("postrun", result.id) == "SUCCESS",
        within=WITHIN,
        what="task_postrun",
    )


def test_a_hundred_tasks_wait_at_once(shared: Shared) -> None:
    project, _ = shared
    results = [project.send("nap", 5.0) for _ in range(100)]
    wait_until(lambda: _in_flight(project) == 100, within=5, what="100 in flight")
    for result in results:
        assert result.get(timeout=WITHIN) == 5.0


def _in_flight(project: Project) -> int:
    stats = project.client.control.inspect(timeout=0.5).stats() or {}
    return sum(int(each["pool"]["in-flight"]) for each in stats.values())
