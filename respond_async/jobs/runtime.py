"""The jobs of one process: what app and worker share, and what the app does."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from threading import Event
from typing import Any, Final

import redis
from celery import Celery

from respond_async.celery_face import BackendUnavailableError, CeleryFace
from respond_async.connections import AppRedis, app_blocking_redis
from respond_async.errors import ConfigurationError
from respond_async.jobs import scripts
from respond_async.jobs.calling_back import owed
from respond_async.jobs.config import TaskConfig
from respond_async.jobs.definition import Definition, definition_of
from respond_async.jobs.errors import TaskError
from respond_async.jobs.prelude import hub_of, job_channel
from respond_async.jobs.reading import watched
from respond_async.jobs.record import Job, Spec, read_fields, read_hash, read_job
from respond_async.jobs.schedules import Schedules
from respond_async.sealing import Sealer
from respond_async.settings import Settings
from respond_async.tracing import tracing_of
from respond_async.waiting import Waits
from ws_hub import Script

#: The keyword argument of a Celery message that says: the record has the arguments.
MARK: Final = "respond_async_job"
# The outbox gives the app so long to publish.
_OUTBOX_MILLISECONDS: Final = 30_000

_current: "Jobs | None" = None


class Jobs:
    """Makes, reads and cancels jobs.

    The last one made is what `create_task` and the others work with in this process.

    Args:
        celery: The Celery application, or where it is ("module:attribute").
        settings: Default: from the environment.
        config: The same in app and workers. Default: as the settings say.
    """

    def __init__(
        self,
        celery: Celery | str,
        settings: Settings | None = None,
        config: TaskConfig | None = None,
    ) -> None:
        global _current  # noqa: PLW0603
        self.settings: Final = settings or Settings()
        self.config: Final = config or TaskConfig.from_settings(self.settings)
        self.sealer: Final = Sealer(self.settings, "job")
        self._celery: Final = CeleryFace(celery, self.settings)
        #: None: no spans.
        self.tracing: Final = tracing_of(self.settings, self._celery.celery)
        #: The app's.
        self.redis: Final = AppRedis(self.settings)
        self._blocking: Final = app_blocking_redis(self.settings)
        #: Wakes those who wait for news of jobs.
        self.waits: Final = Waits(self.settings.redis_url)
        #: What is created again and again.
        self.schedules: Final = Schedules(self)
        _current = self

    @property
    def kept(self) -> tuple[str, str]:
        """What the scripts want to know of history: whether it is kept, and its seconds."""
        return str(int(self.config.enable_task_history)), str(self.config.task_result_ttl)

    def fields(
        self,
        definition: Definition,
        spec: Spec,
        job_id: str,
        *,
        name: str | None = None,
        idempotent: bool | None = None,
    ) -> list[str]:
        """The first fields of a record; default: as the function says."""
        repeatable = definition.idempotent if idempotent is None else idempotent
        return [
            "name", name or definition.name, "function", definition.name, "owner", self.owner(spec.channel),
            "spec", spec.sealed(self.sealer, job_id), *owed(definition, spec.webhook), "repeatable", str(int(repeatable)),
        ]  # fmt: skip

    def timeout_of(self, definition: Definition, given: float | None = None) -> float | None:
        """Seconds that a run may take: as given, else the function's, else the configuration's."""
        limits = (given, definition.timeout, self.config.default_timeout)
        return next((each for each in limits if each is not None), None)

    def limits(self, definition: Definition) -> list[int]:
        """How many run at once: of all, of the function, of an owner, of a key; 0 for no limit."""
        config = self.config
        return [
            config.max_concurrent_tasks or 0, definition.max_concurrent or 0,
            config.max_concurrent_per_owner or 0, config.max_concurrent_per_key or 0,
        ]  # fmt: skip

    def owner(self, channel: str) -> str:
        """What stands for an owner in Redis, where others can read it."""
        return self.sealer.names(channel)[0] if channel else "-"

    async def create(
        self,
        function: object,
        *args: Any,
        name: str | None = None,
        channel: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - of the job, not of the call
        priority: int | None = None,
        delay: float = 0.0,
        dedupe_key: str | None = None,
        idempotent: bool | None = None,
        webhook: str = "",
        concurrency_key: str | None = None,
        **kwargs: Any,
    ) -> Job:
        """A job, with the broker by now: `create_task`.

        Raises:
            TaskError: `invalid_arguments` or `unavailable`.
            ConfigurationError: The function is not registered.
        """
        definition = definition_of(function)
        if webhook and not self.config.webhook_secret:
            raise ConfigurationError("webhooks are signed: set TaskConfig.webhook_secret")
        if idempotent is None:
            idempotent = definition.idempotent and dedupe_key is None
        spec = Spec(
            arguments=definition.arguments.to_json(args, kwargs),
            channel=channel,
            timeout=self.timeout_of(definition, timeout),
            webhook=webhook,
            trace={} if self.tracing is None else self.tracing.carrier(),
        )
        dedupe = f"{channel}|{definition.name}|{dedupe_key}"
        return await self._make(
            definition, spec, name=name, idempotent=idempotent, priority=priority, delay=delay,
            dedupe="" if dedupe_key is None else self.sealer.names(dedupe)[0],
            key="" if concurrency_key is None else self.sealer.names(concurrency_key)[0],
        )  # fmt: skip

    async def _make(
        self,
        definition: Definition,
        spec: Spec,
        *,
        name: str | None,
        idempotent: bool,
        dedupe: str = "",
        key: str = "",
        priority: int | None = None,
        delay: float = 0.0,
    ) -> Job:
        """`dedupe` and `key` as they stand in Redis."""
        job_id = str(uuid.uuid4())
        fields = self.fields(definition, spec, job_id, name=name, idempotent=idempotent)
        if key:
            fields += ["key", key]
        wait = int(delay * 1000) + _OUTBOX_MILLISECONDS
        create = (job_id, self.hub(spec.channel, job_id), dedupe, wait, *fields)
        options = message_options(definition, priority, delay)
        if self.tracing is None:
            return await self._created(definition, create, options)
        await self._celery.loaded()
        with self.tracing.sending(definition.queue, job_id) as headers:
            return await self._created(definition, create, {**options, "headers": headers})

    async def get(self, job_id: str) -> Job:
        """The job.

        Raises:
            TaskError: `not_found` or `unavailable`.
        """
        async with self.answering():
            client: Any = self.redis.client()
            found = await client.hgetall(f"{scripts.PREFIX}job:{job_id}")
        return self._read(read_hash(found))

    def _read(self, record: Mapping[str, str]) -> Job:
        if not record:
            raise TaskError("not_found", "There is no such job, or no more.")
        return read_job(record, self.sealer)

    async def cancel(self, job_id: str) -> Job:
        """The job, cancelled if it was pending; if it runs, its worker ends it soon.

        Raises:
            TaskError: `not_found` or `unavailable`.
        """
        channel = (await self.get(job_id)).channel
        await self.script(scripts.CANCEL, job_id, self.hub(channel, job_id), *self.kept)
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Forgets a job that has ended; does nothing if there is none.

        Raises:
            TaskError: `not_ended` or `unavailable`.
        """
        status = await self.script(scripts.DELETE, job_id, "0")
        if status:
            raise TaskError("not_ended", f"The job is {status.decode()}: cancel it first.")

    async def retry(self, job_id: str) -> Job:
        """A new job that does again what an ended one did.

        Raises:
            TaskError: `not_found`, `not_ended` or `unavailable`.
        """
        job = await self.get(job_id)
        if not job.status.ended:
            raise TaskError("not_ended", f"The job is {job.status}: it cannot be run again yet.")
        async with self.answering():
            client: Any = self.redis.client()
            sealed, function, key = await client.hmget(
                f"{scripts.PREFIX}job:{job_id}", "spec", "function", "key"
            )
        return await self._make(
            definition_of(function.decode()),
            Spec.opened(self.sealer, sealed.decode(), job_id),
            name=job.name,
            idempotent=job.idempotent,
            key=key.decode() if key else "",
        )

    async def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """The job, ended.

        Raises:
            TimeoutError: It has not ended in time.
            TaskError: `not_found` or `unavailable`.
        """
        async with asyncio.timeout(seconds), aclosing(watched(self, job_id)) as changes:
            async for job in changes:
                if job.status.ended:
                    return job
        raise AssertionError("a job that is watched to its end has ended")

    def client(self) -> Any:
        """Redis, for the running event loop."""
        return self.redis.client()

    def hub(self, channel: str, job_id: str) -> str:
        """What the scripts want to know to tell a job's owner."""
        return hub_of(channel, job_id, self.settings)

    @staticmethod
    def channel_of(job: Job) -> str:
        """The internal name of the channel on which there are news of a job."""
        return job.channel or job_channel(job.id)

    async def close(self) -> None:
        """Closes what is open."""
        self._celery.close()
        self._blocking.close()
        await self.waits.close()
        await self.redis.close()

    async def _created(
        self, definition: Definition, create: Sequence[Any], options: Mapping[str, Any]
    ) -> Job:
        """Record, message, outbox: one after the other in one thread, the quickest way to do it."""
        job_id: str = create[0]
        given_up = Event()

        def publish(app: Celery) -> list[bytes] | str:
            there = scripts.CREATE.run(self._blocking, (), create).decode()
            if there != job_id:
                return str(there)
            # Whoever gave up removes the record after it says so: that or this sees it.
            if given_up.is_set():
                scripts.DELETE.run(self._blocking, (), (job_id, "1"))
            else:
                app.send_task(definition.name, task_id=job_id, **options)
            record: list[bytes] = scripts.SENT.run(self._blocking, (), (job_id,))
            return record

        try:
            made = await self._celery.call(publish)
        except BackendUnavailableError as error:
            given_up.set()
            # Without a record its message, if the broker has it after all, never runs.
            await self.script(scripts.DELETE, job_id, "1")
            message = "The job was not created: the broker does not answer."
            raise TaskError("unavailable", message) from error
        return await self.get(made) if isinstance(made, str) else self._read(read_fields(made))

    async def script(self, script: Script, *args: Any) -> Any:
        """What a script gives.

        Raises:
            TaskError: `unavailable`.
        """
        async with self.answering():
            return await script.run_async(self.redis.client(), (), args)

    @staticmethod
    def answering() -> AbstractAsyncContextManager[None]:
        """Makes `TaskError` (`unavailable`) of what Redis' client raises."""
        return _answering()


@asynccontextmanager
async def _answering() -> Any:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise TaskError("unavailable", "The jobs' storage does not answer.") from error


def current() -> Jobs:
    """The jobs of this process.

    Raises:
        ConfigurationError: There are none.
    """
    if _current is None:
        raise ConfigurationError(
            "there are no jobs in this process: Jobs(celery) in the app's module and"
            " JobsWorker(celery) in the worker's"
        )
    return _current


def message_options(
    definition: Definition, priority: int | None = None, delay: float = 0.0
) -> Mapping[str, Any]:
    """The options of Celery's `send_task` for a job that has a record."""
    priority = definition.priority if priority is None else priority
    given = {"queue": definition.queue, "priority": priority, "countdown": delay or None}
    return {
        "kwargs": {MARK: True},
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "ignore_result": True,
        "retry": False,
        **{name: value for name, value in given.items() if value is not None},
    }


def record_of(answer: Sequence[Any]) -> dict[str, str]:
    """The record in what BEGIN gives."""
    return read_fields(answer[1]) if len(answer) > 1 and isinstance(answer[1], list) else {}
