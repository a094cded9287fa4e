"""A Celery project that names the pool and uses nothing else of ours. Copied beside each worker."""

import asyncio
import contextvars
import json
import os
import threading
import time
from typing import Any, NoReturn

import redis
import redis.asyncio
from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded

from respond_async.pool import await_, before_stop, in_thread, running_loop

configuration = json.loads(os.environ["PROJECT_CONFIGURATION"])
if configuration["broker_url"].startswith("kafka"):
    import kafka_transport  # noqa: F401

app = Celery("project")
app.conf.update(configuration)

notes = redis.Redis.from_url(configuration["project_notes"])
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="untouched")


def note(key: str, what: str) -> None:
    notes.rpush(key, what)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    async def goodbye() -> None:
        await asyncio.sleep(0)
        note(f"goodbye-{os.getpid()}", str(asyncio.get_running_loop() is running_loop()))

    if running_loop() is not None:
        before_stop(goodbye)


@signals.task_postrun.connect
def _postrun(task_id: str, state: str | None, **_: Any) -> None:
    notes.hset("postrun", task_id, str(state))


@app.task
async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task
def plain_add(x: int, y: int) -> int:
    return x + y


@app.task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True)
async def who(self: Any, seconds: float = 0) -> list[str | None]:
    async def child() -> str | None:
        await asyncio.sleep(seconds)
        request_id: str | None = self.request.id
        return request_id

    return [
        self.request.id,
        await asyncio.create_task(child()),
        await asyncio.to_thread(lambda: self.request.id),
        await asyncio.wait_for(child(), 30),
    ]


@app.task(bind=True, max_retries=5)
async def succeeds_at(self: Any, attempt: int) -> int:
    if self.request.retries < attempt:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=False, default_retry_delay=0)
async def retries_itself(self: Any) -> int:
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise ConnectionError("not yet")
    return int(self.request.retries)


@app.task(bind=True)
async def calls(self: Any, times: int) -> list[str]:
    """Publishes from within, one by one and as a group."""
    results = [add.delay(n, n) for n in range(times)]
    return [str(result.id) for result in results] + [str(self.request.id)]


@app.task
async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@app.task
def plain_nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task
async def where() -> list[Any]:
    return [threading.current_thread().name, asyncio.get_running_loop() is running_loop()]


@app.task
def plain_where() -> str:
    return threading.current_thread().name


@app.task(on_loop=True)
def function_on_loop(seconds: float) -> list[str]:
    await_(asyncio.sleep(seconds))
    return [threading.current_thread().name, in_thread(lambda: threading.current_thread().name)]


@app.task
def function_in_thread(seconds: float) -> str:
    async def on_loop() -> str:
        await asyncio.sleep(seconds)
        return threading.current_thread().name

    return await_(on_loop())


@app.task
async def sets_variable(value: str) -> list[str]:
    before = variable.get()
    variable.set(value)
    await asyncio.sleep(0.05)
    return [before, variable.get()]


@app.task
async def waits(key: str, seconds: float) -> str:
    """Waits as a database driver does, and says how it ended."""
    note(key, "begun")
    client = redis.asyncio.Redis.from_url(configuration["project_notes"])
    try:
        await client.blpop(f"{key}:never", timeout=seconds)
        note(key, "done")
    except SoftTimeLimitExceeded:
        note(key, "soft")
        return "tidied"
    except asyncio.CancelledError:
        note(key, "cancelled")
        raise
    finally:
        await client.aclose()
        note(key, "finally")
    return "waited"


@app.task
async def refuses_to_die(key: str, seconds: float) -> str:
    note(key, "begun")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(max(0.0, end - time.monotonic()))
        except asyncio.CancelledError:
            note(key, "refused")
    note(key, "done")
    return "survived"


@app.task
async def blocks(seconds: float) -> None:
    time.sleep(seconds)


@app.task
async def blocks_in_child(seconds: float) -> None:
    async def child() -> None:
        time.sleep(seconds)

    await asyncio.create_task(child())


class CannotBePickledError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__("no way")
        self.lock = threading.Lock()


KINDS: dict[str, Any] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "CannotBePickledError": lambda: CannotBePickledError(1, 2),
    "ValueError": lambda: ValueError("as asked"),
}


@app.task
async def raises(kind: str) -> NoReturn:
    await asyncio.sleep(0)
    error: BaseException = KINDS[kind]()
    raise error


@app.task
def plain_raises(kind: str) -> NoReturn:
    error: BaseException = KINDS[kind]()
    raise error


@app.task
async def noop() -> None:
    pass


@app.task
async def counts(key: str, seconds: float) -> None:
    await asyncio.sleep(seconds)
    note(key, "ran")


@app.task(ignore_result=True)
async def counts_without_result(key: str) -> None:
    note(key, "ran")
