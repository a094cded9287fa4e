"""Jobs that are run by a worker."""

from datetime import UTC, datetime

import pytest
from celery import Celery, chain

from respond_async import Status, TaskError
from respond_async.jobs import scripts
from respond_async.jobs.definition import definition_of
from respond_async.jobs.record import Spec
from tests.integration.respond_async_jobs.conftest import Client
from tests.support.jobs import functions
from tests.support.workers import Worker
from ws_hub import user_channel

pytestmark = pytest.mark.usefixtures("worker")


def test_async_and_sync_functions_complete(client: Client) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = client.create(functions.tomorrow, now)
    second = client.create("jobs.doubled", 21)
    one, two = client.ended(first), client.ended(second)
    assert (one.status, one.result) == (Status.COMPLETED, "2026-01-02T00:00:00Z")
    assert (two.status, two.result, two.attempts) == (Status.COMPLETED, 42, 1)
    assert one.started is not None
    assert one.completed is not None
    assert one.created <= one.started <= one.completed
    assert client.store.zcard(f"{scripts.PREFIX}unsent") == 0


def test_an_error_is_told_as_it_was_raised(client: Client) -> None:
    job = client.ended(client.create(functions.failing, "no_luck"))
    assert job.status is Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.details) == ("no_luck", {"why": "the test"})


@pytest.mark.parametrize("function", [functions.forever, functions.spinning])
def test_a_time_limit_ends_the_function(client: Client, function: object) -> None:
    where = f"limit-{function}"
    job = client.ended(client.create(function, where, timeout=0.5))
    assert job.status is Status.TIMEOUT
    assert client.noted(where) == ["began", "left"]


@pytest.mark.parametrize("function", [functions.forever, functions.spinning])
def test_what_runs_is_cancelled(client: Client, function: object) -> None:
    where = f"cancel-{function}"
    job = client.create(function, where)
    client.wait_for(where, ["began"])
    now = client.run(client.jobs.cancel(job.id))
    assert now.status is Status.CANCELLED or now.cancelling
    assert client.ended(job).status is Status.CANCELLED
    assert client.noted(where) == ["began", "left"]


def test_what_is_pending_never_starts_once_it_is_cancelled(client: Client) -> None:
    job = client.create(functions.forever, "never", delay=1)
    assert client.run(client.jobs.cancel(job.id)).status is Status.CANCELLED
    # Its message comes a second later; one that is sent after that has come too.
    later = client.create("jobs.doubled", 1, delay=2)
    assert client.ended(later).status is Status.COMPLETED
    assert client.noted("never") == []
    assert client.get(job.id).started is None


def test_a_delay_is_kept(client: Client) -> None:
    job = client.ended(client.create("jobs.doubled", 1, delay=1))
    assert job.started is not None
    assert (job.started - job.created).total_seconds() >= 1


def test_it_is_tried_again_as_its_policy_says(client: Client) -> None:
    job = client.ended(client.create(functions.flaky, "flaky", 2))
    assert (job.status, job.result, job.attempts) == (Status.COMPLETED, 3, 3)
    job = client.ended(client.create(functions.flaky, "hopeless", 9))
    assert (job.status, job.attempts) == (Status.FAILED, 3)


def test_dependencies_are_resolved_and_closed_in_the_worker(client: Client) -> None:
    channel = user_channel("alice")
    job = client.ended(client.create(functions.with_session, "text", channel=channel))
    assert job.result == ["text", "open", channel], job.error
    client.wait_for("session", ["beside", "ran", "closed"])


def test_it_is_a_celery_task_too(client: Client, celery: Celery) -> None:
    task = celery.tasks["jobs.doubled"]
    alone = task.delay(4, times=3)
    assert alone.get(timeout=20) == 12
    assert client.get(alone.id).result == 12
    assert chain(task.s(2), task.s()).delay().get(timeout=20) == 8
    assert functions.doubled(5) == 10


def test_a_bad_argument_is_refused_when_the_job_is_created(client: Client) -> None:
    with pytest.raises(TaskError) as refused:
        client.create("jobs.doubled", "not a number", times="nor this")
    assert refused.value.code == "invalid_arguments"
    assert [each["where"] for each in refused.value.details["errors"]] == ["number", "times"]
    with pytest.raises(TaskError, match="missing a required argument"):
        client.create("jobs.doubled")


def test_a_dedupe_key_stands_for_the_first_job_of_its_owner(client: Client) -> None:
    first = client.create("jobs.doubled", 1, dedupe_key="once", channel="user.a")
    assert client.create("jobs.doubled", 2, dedupe_key="once", channel="user.a").id == first.id
    assert client.ended(first).result == 2
    again = client.create("jobs.doubled", 2, dedupe_key="once", channel="user.a")
    assert (again.id, again.status) == (first.id, Status.COMPLETED)
    assert client.create("jobs.doubled", 2, dedupe_key="once", channel="user.b").id != first.id


def test_what_was_created_and_not_published_is_published_by_a_worker(client: Client) -> None:
    jobs, definition = client.jobs, definition_of("jobs.doubled")
    fields = jobs.fields(definition, Spec(arguments={"number": 3}), "left-behind")
    connection = client.store
    connection.eval(scripts.CREATE.text, 0, "left-behind", "", "", "0", *fields)
    assert client.ended(client.get("left-behind")).result == 6


def test_it_is_deleted_and_run_again_only_after_its_end(client: Client) -> None:
    job = client.create(functions.forever, "deleted", name="my own")
    client.wait_for("deleted", ["began"])
    for call in (client.jobs.delete, client.jobs.retry):
        with pytest.raises(TaskError) as refused:
            client.run(call(job.id))
        assert refused.value.code == "not_ended"
    client.run(client.jobs.cancel(job.id))
    client.ended(job)
    again = client.run(client.jobs.retry(job.id))
    assert again.id != job.id
    assert again.name == job.name == "my own"
    client.run(client.jobs.cancel(again.id))
    client.run(client.jobs.delete(job.id))
    with pytest.raises(TaskError) as refused:
        client.get(job.id)
    assert refused.value.code == "not_found"


def test_nothing_readable_is_in_redis(client: Client, worker: Worker) -> None:
    job = client.create(functions.forever, "a-secret-argument", channel="anon.secret-channel-name")
    client.wait_for("a-secret-argument", ["began"])
    record = client.store.hgetall(f"{scripts.PREFIX}job:{job.id}")
    assert "secret" not in str(record)
    assert "a-secret-argument" not in worker.output()
    client.run(client.jobs.cancel(job.id))
