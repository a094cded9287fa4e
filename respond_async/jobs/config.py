"""How jobs are kept."""

import logging
from dataclasses import dataclass, field
from typing import Self

from respond_async.errors import ConfigurationError
from respond_async.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskConfig:
    """Settings of all jobs; the same in the app and in its workers.

    Raises:
        ConfigurationError: A value cannot work.
    """

    #: Seconds a job may run where neither it nor its function says; None: no limit.
    default_timeout: float | None = 3600.0
    #: How many jobs run at once, in all workers together; None: no limit.
    max_concurrent_tasks: int | None = None
    #: The same of one owner; jobs of nobody are not limited by it.
    max_concurrent_per_owner: int | None = None
    #: The same of one `concurrency_key`.
    max_concurrent_per_key: int | None = 1
    #: How many schedules one owner may have; None: no limit.
    max_schedules_per_owner: int | None = 100
    #: Seconds that a job and its result can be asked for after its end.
    task_result_ttl: float = 86_400.0
    #: Whether what has ended is listed; without it a job is known by its id alone.
    enable_task_history: bool = True
    #: How many jobs that have ended are kept, of all owners.
    max_task_history: int = 100_000
    #: Seconds between two prunings.
    cleanup_interval: float = 60.0
    #: What jobs log from this level on is kept for their owners, where their logger passes it on.
    log_level: int | str = "INFO"
    #: Whether the error of a job has its traceback, which its owner then reads: for development.
    keep_tracebacks: bool = False
    #: What webhooks are signed with; without it there are none.
    webhook_secret: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As the environment says: the settings whose names begin with TASK_."""
        return cls(
            default_timeout=settings.task_timeout_seconds or None,
            max_concurrent_tasks=settings.task_max_concurrent or None,
            max_concurrent_per_owner=settings.task_max_concurrent_per_owner or None,
            max_concurrent_per_key=settings.task_max_concurrent_per_key or None,
            max_schedules_per_owner=settings.task_max_schedules_per_owner or None,
            task_result_ttl=settings.task_result_ttl_seconds,
            enable_task_history=settings.task_history,
            max_task_history=settings.task_max_history,
            cleanup_interval=settings.task_cleanup_seconds,
            log_level=settings.task_log_level,
            keep_tracebacks=settings.task_keep_tracebacks,
            webhook_secret=settings.task_webhook_secret.get_secret_value(),
        )

    def __post_init__(self) -> None:
        for name in ("default_timeout", "task_result_ttl", "cleanup_interval"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"TaskConfig.{name} is {value}: it must be above 0")
        for name in ("tasks", "per_owner", "per_key"):
            value = getattr(self, f"max_concurrent_{name}")
            if value is not None and value <= 0:
                raise ConfigurationError(f"TaskConfig.max_concurrent_{name} must be above 0")
        known = logging.getLevelNamesMapping()
        if isinstance(self.log_level, str) and self.log_level not in known:
            raise ConfigurationError(f"TaskConfig.log_level {self.log_level!r} is no level")
        if self.max_task_history < 0:
            raise ConfigurationError("TaskConfig.max_task_history must be 0 or more")
