"""What would go to the broker, and what is delivered of it in the test's process."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest
from celery import Celery

from respond_async.jobs.definition import DEFINITIONS
from respond_async.jobs.testing.clock import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A job's message, as Celery was to send it."""

    app: Celery
    name: str
    task_id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    #: The rest of what `send_task` was given, without its time.
    options: Mapping[str, Any] = field(default_factory=dict)


class Post:
    """Takes the messages of all jobs, of any Celery application, until the end of the test.

    Args:
        deliver: Called with each when it is due; must not wait.
        clock: The test's; None: messages come at their time.
        patch: Undoes it.
    """

    def __init__(
        self, deliver: Callable[[Message], None], clock: Clock | None, patch: pytest.MonkeyPatch
    ) -> None:
        self._deliver: Final = deliver
        self._clock: Final = clock
        self._lock: Final = threading.Lock()
        self._held: list[tuple[int, Message]] = []
        self._timers: list[threading.Timer] = []
        post, original = self, Celery.send_task

        def send_task(
            app: Celery, name: str, args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            if name not in DEFINITIONS:
                return original(app, name, args, kwargs, **options)
            return post._take(app, name, args, kwargs, options)

        patch.setattr(Celery, "send_task", send_task)
        #: Celery's own.
        self.original: Final = original

    def due(self) -> list[int]:
        """The microseconds at which there is something to be delivered."""
        with self._lock:
            return [due for due, _ in self._held]

    def deliver_due(self) -> None:
        """Delivers what is due by the test's clock."""
        assert self._clock is not None
        now = self._clock.microseconds()
        with self._lock:
            due = sorted((each for each in self._held if each[0] <= now), key=lambda each: each[0])
            self._held = [each for each in self._held if each[0] > now]
        for _, message in due:
            self._deliver(message)

    def close(self) -> None:
        """Delivers nothing any more."""
        for timer in self._timers:
            timer.cancel()

    def _take(self, app: Celery, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        seconds = options.pop("countdown", None) or 0.0
        eta = options.pop("eta", None)
        task_id = options.pop("task_id", None) or str(uuid4())
        message = Message(app=app, name=name, task_id=task_id, args=tuple(args or ()),
                          kwargs=dict(kwargs or {}), options=options)  # fmt: skip
        if eta is not None:
            moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
            now = self._clock.now if self._clock else datetime.now(UTC)
            seconds = (moment - now).total_seconds()
        if seconds <= 0:
            self._deliver(message)
        elif self._clock is not None:
            due = self._clock.microseconds() + round(seconds * 1_000_000)
            with self._lock:
                self._held.append((due, message))
        else:
            timer = threading.Timer(seconds, self._deliver, [message])
            timer.daemon = True
            timer.start()
            self._timers.append(timer)
        return app.AsyncResult(task_id)
