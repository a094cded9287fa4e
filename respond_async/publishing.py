"""The Celery message of a replay: what `send_task` would publish, made once and filled in.

`send_task` takes 0.5 ms of CPU, most of it to come to the same headers, properties and route again;
and a Redis result backend subscribes to the result's channel at each, for an `AsyncResult.get()`
that nobody calls here. So Celery makes one message, and the others differ from it in the id, what
is shown of the request, and the sealed request. Where somebody wants to know of each message
(the signals `before_task_publish` and `after_task_publish`, `task_send_sent_event`) or the
message is compressed, Celery's own code makes and sends each.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple

from celery import Celery, signals
from kombu.exceptions import OperationalError
from kombu.pools import producers

from respond_async.envelope import CapturedRequest

#: The name of the Celery task that replays a request.
TASK_NAME: Final = "respond_async.replay"

# On top of the broker's own deadline, so that its error, which says more, comes first.
_MARGIN_SECONDS: Final = 1.0
_SHOWN_PATH: Final = 200
# What stands in a template for what differs between two messages.
_ID: Final = "the-id-goes-here"
_SHOWN: Final = "what-is-shown-goes-here"
_SEALED: Final = "the-sealed-request-goes-here"
_NO_HEADERS: Final[Mapping[str, str]] = {}
# Queue, priority and the names of the headers.
_Kind = tuple[str, int | None, tuple[str, ...]]
# One attempt to connect, then an error; kombu's default is to try for ever.
_CONNECT_ONCE: Final = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


class BrokerUnavailableError(Exception):
    """The broker did not confirm the task. Whether it has it is not known."""


class ReplayPublisher:
    """Publishes the replays of one process; makes no connection before it is used.

    Args:
        celery: The Celery application.
        queue: The queue of captured requests.
        timeout_seconds: How long the broker may take to confirm a message.
    """

    def __init__(self, celery: Celery, queue: str, timeout_seconds: float) -> None:
        self._celery: Final[Any] = celery
        self._timeout: Final = timeout_seconds
        self._queue: Final = queue
        # Celery's configuration takes its time to look up.
        self._sends_events: Final[bool] = self._celery.conf.task_send_sent_event
        self._connecting: Final = Lock()
        self._channel: Any = None
        self._errors: tuple[type[BaseException], ...] = ()
        # None until it is known whether the transport confirms without waiting.
        self._confirms: bool | None = None
        self._declared: Final[set[str]] = set()
        self._templates: Final[dict[_Kind, Any]] = {}

    def publish(
        self, request: CapturedRequest, sealed: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Returns once the broker has the message, with these headers more; blocks meanwhile.

        Raises:
            BrokerUnavailableError: It did not confirm.
        """
        connection = self._connection()
        errors = _errors_of(connection)
        try:
            with producers[connection].acquire(block=True, timeout=self._timeout) as producer:
                self._send(producer, _Asked.of(request, sealed, self._queue, headers))
        except errors as error:
            raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error

    def is_ready(self, request: CapturedRequest) -> bool:
        """Whether `begin` may be called for a request: `connect` said so for its queue."""
        return self._queue_of(request) in self._declared

    def connect(self, request: CapturedRequest) -> bool:
        """Whether a request can be sent without waiting, by `begin`. Blocks.

        That is so where the transport's channel has `confirmed_publish`: as kombu's
        `basic_publish`, but at once returned, with a future of the broker's confirmation.

        Raises:
            BrokerUnavailableError: There is no connection to be had.
        """
        # The first requests come in several threads at once; one connection is enough.
        if not self._connecting.acquire(timeout=self._timeout):
            raise BrokerUnavailableError(f"no connection within {self._timeout:g} s")
        try:
            if self.is_ready(request):
                return True
            return self._confirms is not False and self._connected(self._queue_of(request))
        finally:
            self._connecting.release()

    def _connected(self, queue: str) -> bool:
        connection = self._connection()
        errors = _errors_of(connection)
        try:
            connection.ensure_connection(timeout=self._timeout, **_CONNECT_ONCE)
            channel = connection.default_channel
            self._confirms = hasattr(channel, "confirmed_publish")
            if self._confirms:
                self._celery.amqp.queues[queue](channel).declare()
        except errors as error:
            connection.release()
            raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error
        if not self._confirms:
            connection.release()
            return False
        if self._channel is None:
            self._channel, self._errors = channel, errors
        else:
            connection.release()
        self._declared.add(queue)
        return True

    async def confirmed(
        self, request: CapturedRequest, sealed: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends a message, after `connect`, with these headers more; returns when the broker has it.

        Raises:
            BrokerUnavailableError: It did not confirm, or the message cannot even be sent.
        """
        try:
            await self._begin(_Asked.of(request, sealed, self._queue, headers))
        except self._errors as error:
            raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error

    def _queue_of(self, request: CapturedRequest) -> str:
        return request.queue or self._queue

    def _begin(self, asked: "_Asked") -> Awaitable[None]:
        channel = self._channel
        if not self._is_observed():
            template = self._templates.get(asked.kind) or self._template(asked)
            if template is not None:
                sent: Awaitable[None] = template.publish(asked.words, asked.partition_key)
                return sent
        confirmation = self._send(self._producer(_Confirming(channel)), asked, declare=[])
        # Shielded: a caller that gives up would cancel what the broker's client is to end.
        return asyncio.wait_for(
            asyncio.shield(asyncio.wrap_future(confirmation)), self._timeout + _MARGIN_SECONDS
        )

    def _is_observed(self) -> bool:
        return bool(
            signals.before_task_publish.receivers
            or signals.after_task_publish.receivers
            or self._sends_events
        )

    def _template(self, asked: "_Asked") -> Any:
        """None: Celery or the transport must make each message."""
        recorder = _Recorder(self._channel)
        headers = {name: _word_of(name) for name in asked.headers}
        words = _Asked(_ID, _SHOWN, _SEALED, asked.queue, asked.priority, None, headers)
        self._send(self._producer(recorder), words, declare=[])
        if not isinstance(recorder.body, str) or not hasattr(self._channel, "template"):
            return None
        made = self._channel.template(
            recorder.message,
            tuple(words.words),
            confirm_timeout=self._timeout + _MARGIN_SECONDS,
            **recorder.where,
        )
        self._templates[asked.kind] = made
        return made

    def _producer(self, channel: Any) -> Any:
        return self._celery.amqp.Producer(channel, auto_declare=False)

    def _connection(self) -> Any:
        return self._celery.connection_for_write(transport_options=_CONNECT_ONCE)

    def _send(self, producer: Any, asked: "_Asked", **more: Any) -> Any:
        amqp = self._celery.amqp
        options = {"queue": asked.queue, "serializer": "json", "retry": False}
        if asked.priority is not None:
            options["priority"] = asked.priority
        if asked.partition_key is not None:
            options["partition_key"] = asked.partition_key
        if asked.headers:
            options["headers"] = asked.headers
        task = self._celery.tasks.get(TASK_NAME)
        routed = amqp.router.route(options, TASK_NAME, (), {}, task)
        message = amqp.create_task_message(
            asked.task_id,
            TASK_NAME,
            kwargs={"request": asked.sealed},
            reply_to=self._celery.thread_oid,
            create_sent_event=self._sends_events,
            ignore_result=False,
            # Shown by logs, events and Flower instead of what is sent.
            argsrepr=asked.shown,
            kwargsrepr="{}",
        )
        return amqp.send_task_message(producer, TASK_NAME, message, **routed, **more)


class _Asked(NamedTuple):
    """What differs between two messages."""

    task_id: str
    shown: str
    sealed: str
    queue: str
    priority: int | None
    partition_key: str | None
    headers: Mapping[str, str]

    @classmethod
    def of(
        cls,
        request: CapturedRequest,
        sealed: str,
        queue: str,
        headers: Mapping[str, str] | None = None,
    ) -> "_Asked":
        plan, more = request.plan, headers or _NO_HEADERS
        if plan is None:
            return cls(request.task_id, shown_request(request), sealed, queue, None, None, more)
        return cls(
            request.task_id,
            shown_request(request),
            sealed,
            plan.queue or queue,
            plan.priority,
            plan.partition_key,
            more,
        )

    @property
    def kind(self) -> "_Kind":
        """What cannot be filled in."""
        return self.queue, self.priority, tuple(self.headers)

    @property
    def words(self) -> dict[str, str]:
        """What stands for each of a template's words."""
        words = {_ID: self.task_id, _SHOWN: self.shown, _SEALED: self.sealed}
        for name, value in self.headers.items():
            words[_word_of(name)] = value
        return words


def _word_of(header: str) -> str:
    return f"the-header-{header}-goes-here"


class _Confirming:
    """A channel whose `basic_publish` returns the confirmation instead of waiting for it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.basic_publish = channel.confirmed_publish

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class _Recorder:
    """A channel that keeps what it is to publish, and publishes nothing."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.body: Any = None
        self.message: Any = None
        self.where: dict[str, str] = {}

    def prepare_message(self, body: Any, *given: Any) -> Any:
        self.body, self.message = body, self._channel.prepare_message(body, *given)
        return self.message

    def basic_publish(self, _: Any, *, exchange: str, routing_key: str, **__: Any) -> None:
        self.where = {"exchange": exchange, "routing_key": routing_key}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def shown_request(request: CapturedRequest) -> str:
    """What logs, events and Flower show of a request: method and path."""
    return f"{request.method} {request.raw_path}"[:_SHOWN_PATH]


def _errors_of(connection: Any) -> tuple[type[BaseException], ...]:
    return (
        OperationalError,
        OSError,
        *connection.connection_errors,
        *connection.channel_errors,
    )
