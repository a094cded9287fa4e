"""Who runs, who waits: the pool's limit beside Celery's semaphore."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from respond_async.pool.job import Job
from respond_async.pool.slots import Slots


def job() -> Job:
    return Job(lambda: None, (), {})


class Worker:
    """Celery's side: a request takes the semaphore before it is given to the pool."""

    def __init__(self, limit: int) -> None:
        self.begun: list[Job] = []
        self.semaphore = LaxBoundedSemaphore(limit)
        self.slots = Slots(limit, self.begun.append, self.semaphore)

    def request(self) -> None:
        self.semaphore.acquire(lambda: self.slots.put(job()))

    def end_one(self) -> None:
        if self.slots.running:
            self.slots.free(next(iter(self.slots.running)))


def test_no_more_than_the_limit_run() -> None:
    worker = Worker(2)
    for _ in range(5):
        worker.request()
    assert len(worker.slots.running) == 2
    worker.end_one()
    assert len(worker.slots.running) == 2
    assert len(worker.begun) == 3


def test_a_shrunken_pool_begins_nothing_until_it_is_below_its_limit() -> None:
    worker = Worker(4)
    for _ in range(10):
        worker.request()
    worker.slots.resize(2)
    worker.end_one()
    worker.end_one()
    assert len(worker.begun) == 4
    worker.end_one()
    assert len(worker.begun) == 5


def test_without_a_semaphore_jobs_wait_here() -> None:
    begun: list[Job] = []
    slots = Slots(1, begun.append, None)
    first, second = job(), job()
    slots.put(first)
    slots.put(second)
    assert begun == [first]
    slots.free(first)
    assert begun == [first, second]


def test_a_job_that_was_given_up_frees_its_slot_once() -> None:
    begun: list[Job] = []
    slots = Slots(1, begun.append, None)
    jobs = [job() for _ in range(3)]
    for each in jobs:
        slots.put(each)
    slots.free(jobs[0])
    slots.free(jobs[0])
    assert begun == jobs[:2]


@given(st.lists(st.one_of(st.sampled_from(["request", "end"]), st.integers(0, 8)), max_size=80))
def test_after_whatever_happened_all_requests_run_in_the_end(steps: list[Any]) -> None:
    worker = Worker(3)
    requested = 0
    for step in steps:
        if step == "request":
            requested += 1
            worker.request()
        elif step == "end":
            worker.end_one()
        else:
            worker.slots.resize(step)
        # No request waits while there is room.
        room = worker.slots.limit - len(worker.slots.running)
        assert room <= 0 or not vars(worker.semaphore)["_waiting"]
    worker.slots.resize(3)
    while worker.slots.running:
        worker.end_one()
    assert len(worker.begun) == requested
    assert worker.semaphore.value == worker.semaphore.initial_value == 3
