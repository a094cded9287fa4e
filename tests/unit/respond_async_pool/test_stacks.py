"""Celery's stacks of tasks and requests, keyed by the job."""

import contextvars
import gc
import weakref
from typing import Any

from celery.utils.threads import LocalStack

from respond_async.pool.bodies import _by_job
from respond_async.pool.job import JOB, Job


def stack_by_job() -> Any:
    stack: Any = LocalStack()
    _by_job(stack)
    # As for each task that is wrapped: what is in it stays.
    _by_job(stack)
    return stack


def test_jobs_of_one_thread_have_each_their_own() -> None:
    stack, contexts = stack_by_job(), [contextvars.Context() for _ in range(2)]
    for number, context in enumerate(contexts):
        context.run(JOB.set, Job(print, (), {}))
        context.run(stack.push, number)
        context.run(stack.push, number + 10)
    stack.push("of no job")
    for number, context in enumerate(contexts):
        assert context.run(lambda: stack.stack) == [number, number + 10]
        assert [context.run(stack.pop) for _ in range(3)] == [number + 10, number, None]
    assert stack.top == "of no job"


def test_nothing_is_kept_of_a_job_that_has_ended() -> None:
    stack, context = stack_by_job(), contextvars.Context()
    job = Job(print, (), {})
    context.run(JOB.set, job)
    context.run(stack.push, "its request")
    context.run(stack.pop)
    ended = weakref.ref(job)
    del job, context
    gc.collect()
    assert ended() is None
