"""Workers that are killed while they run jobs."""

from pathlib import Path

from respond_async import Status
from tests.integration.respond_async_jobs.conftest import Client, new_worker
from tests.support.jobs import functions


def test_a_job_of_a_killed_worker_runs_again_unless_it_may_not(
    client: Client, redis_url: str, tmp_path: Path
) -> None:
    with new_worker(tmp_path, redis_url, "first") as first:
        again = client.create(functions.slow_at_first, "again")
        once = client.create(functions.forever_once, "once")
        deduped = client.create(functions.slow_at_first, "deduped", dedupe_key="k")
        for where in ("again", "once", "deduped"):
            client.wait_for(where, ["began"])
        first.kill()
    # Nobody has them now, and nobody says anything else.
    assert client.get(again.id).status is Status.RUNNING
    with new_worker(tmp_path, redis_url, "second"):
        repeated = client.ended(again, within=40)
        assert (repeated.status, repeated.attempts) == (Status.COMPLETED, 2)
        for job in (once, deduped):
            lost = client.ended(job, within=40)
            assert (lost.status, lost.attempts) == (Status.FAILED, 1)
            assert lost.error is not None
            assert lost.error.code == "lost"
    assert client.noted("again") == ["began", "began"]
    assert client.noted("once") == ["began"]
    assert client.noted("deduped") == ["began"]


def test_a_job_runs_in_a_pool_without_a_loop(
    client: Client, redis_url: str, tmp_path: Path
) -> None:
    with new_worker(tmp_path, redis_url, "threads", JOBS_POOL="threads"):
        doubled = client.create("jobs.doubled", 4)
        late = client.create(functions.forever, "threads", timeout=0.3)
        assert client.ended(doubled).result == 8
        assert client.ended(late).status is Status.TIMEOUT
    assert client.noted("threads") == ["began", "left"]
