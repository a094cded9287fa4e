"""How many jobs run at once, in two workers together."""

from typing import Any

import pytest

from respond_async import Status
from respond_async.jobs.scripts import PREFIX
from tests.integration.respond_async_jobs.conftest import Client, new_worker
from tests.support.jobs import functions
from tests.support.workers import Worker


@pytest.fixture(scope="module", autouse=True)
def second(worker: Worker, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with new_worker(tmp_path_factory.mktemp("second"), redis_url, "w2") as started:
        yield started


def most_at_once(notes: list[str]) -> int:
    now = most = 0
    for what in notes:
        now += 1 if what == "in" else -1
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("function", "options", "limit"),
    [
        (functions.limited, {}, 2),
        (functions.crowded, {"channel": "user.busy"}, 4),
        (functions.crowded, {"concurrency_key": "one by one"}, 1),
    ],
)
def test_no_more_run_than_may_and_all_do(
    client: Client, function: object, options: dict[str, Any], limit: int
) -> None:
    where = f"limit-{limit}"
    jobs = [client.create(function, where, **options) for _ in range(12)]
    for job in jobs:
        assert client.ended(job, within=40).status is Status.COMPLETED
    notes = client.noted(where)
    assert len(notes) == 24
    # A slow machine starts the fourth when the first is done.
    assert min(limit, 2) <= most_at_once(notes) <= limit
    assert client.store.keys(f"{PREFIX}waiting:*") == []
    assert client.store.keys(f"{PREFIX}slots:[fok]*") == []


def test_without_a_limit_more_run(client: Client) -> None:
    jobs = [client.create(functions.crowded, "free", delay=1) for _ in range(12)]
    for job in jobs:
        client.ended(job)
    assert most_at_once(client.noted("free")) > 4


def test_one_that_waits_is_pending_and_can_be_cancelled(client: Client) -> None:
    first = client.create(functions.forever, "first", concurrency_key="k")
    client.wait_for("first", ["began"])
    second = client.create(functions.forever, "second", concurrency_key="k")
    third = client.create(functions.crowded, "third", concurrency_key="k")
    assert client.run(client.jobs.cancel(second.id)).status is Status.CANCELLED
    assert client.get(third.id).status is Status.PENDING
    client.run(client.jobs.cancel(first.id))
    assert client.ended(third).status is Status.COMPLETED
    assert client.noted("second") == []
