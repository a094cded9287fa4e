"""The Celery message of a replay: what `send_task` would publish, made once and filled in.

`send_task` takes 0.5 ms of CPU, most of it to come to the same headers, properties and route again;
and a Redis result backend subscribes to the result's channel at each, for an `AsyncResult.get()`
that nobody calls here. So Celery makes one message, and the others differ from it in the id, what
is shown of the request, and the sealed request. Where somebody wants to know of each message
(the signals `before_task_publish` and `after_task_publish`, `task_send_sent_event`) or the
message is compressed, Celery's own code makes and sends each.
"""

from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery import Celery, signals
from kombu.exceptions import OperationalError
from kombu.pools import producers

from respond_async.envelope import CapturedRequest

if TYPE_CHECKING:
    from concurrent.futures import Future

#: The name of the Celery task that replays a request.
TASK_NAME: Final = "respond_async.replay"

_SHOWN_PATH: Final = 200
_PLACE: Final = "sealed-request-goes-here"
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
        self._forms: Final[dict[tuple[str, int | None], _Form]] = {}

    def publish(self, request: CapturedRequest, sealed: str) -> None:
        """Returns once the broker has the message; blocks meanwhile.

        Raises:
            BrokerUnavailableError: It did not confirm.
        """
        connection = self._connection()
        errors = _errors_of(connection)
        try:
            with producers[connection].acquire(block=True, timeout=self._timeout) as producer:
                self._send(producer, _Asked.of(request, sealed, self._queue))
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

    def begin(self, request: CapturedRequest, sealed: str) -> "Future[None]":
        """Sends a message, after `connect`; the future ends when the broker has it.

        Raises:
            BrokerUnavailableError: It cannot even be sent.
        """
        try:
            confirmation: Future[None] = self._begin(_Asked.of(request, sealed, self._queue))
        except self._errors as error:
            raise BrokerUnavailableError(f"{type(error).__name__}: {error}") from error
        return confirmation

    def _queue_of(self, request: CapturedRequest) -> str:
        return (request.plan and request.plan.queue) or self._queue

    def _begin(self, asked: "_Asked") -> Any:
        channel = self._channel
        if not self._is_observed():
            form = self._forms.get(asked.kind)
            if form is None:
                form = self._forms[asked.kind] = self._formed(asked)
            if isinstance(form.body, str):
                message = channel.prepare_message(*form.filled(asked))
                return channel.confirmed_publish(message, **form.where)
        return self._send(self._producer(_Confirming(channel)), asked, declare=[])

    def _is_observed(self) -> bool:
        return bool(
            signals.before_task_publish.receivers
            or signals.after_task_publish.receivers
            or self._sends_events
        )

    def _formed(self, asked: "_Asked") -> "_Form":
        recorder = _Recorder(self._channel)
        blank = asked._replace(task_id=_PLACE, shown=_PLACE, sealed=_PLACE, partition_key=None)
        self._send(self._producer(recorder), blank, declare=[])
        assert recorder.form is not None
        return recorder.form

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

    @classmethod
    def of(cls, request: CapturedRequest, sealed: str, queue: str) -> "_Asked":
        plan = request.plan
        if plan is None:
            return cls(request.task_id, shown_request(request), sealed, queue, None, None)
        return cls(
            request.task_id,
            shown_request(request),
            sealed,
            plan.queue or queue,
            plan.priority,
            plan.partition_key,
        )

    @property
    def kind(self) -> tuple[str, int | None]:
        """What cannot be filled in."""
        return self.queue, self.priority


class _Form(NamedTuple):
    """What `prepare_message` and `basic_publish` are given, with `_PLACE` for what differs."""

    body: str | bytes
    priority: int
    content_type: str
    content_encoding: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    where: dict[str, Any]

    def filled(self, asked: _Asked) -> tuple[Any, ...]:
        """The arguments of `prepare_message` for one request; its text needs no JSON escapes."""
        assert isinstance(self.body, str)
        task_id = asked.task_id
        properties = {**self.properties, "correlation_id": task_id}
        if asked.partition_key is not None:
            properties["partition_key"] = asked.partition_key
        return (
            self.body.replace(_PLACE, asked.sealed, 1),
            self.priority,
            self.content_type,
            self.content_encoding,
            {**self.headers, "id": task_id, "root_id": task_id, "argsrepr": asked.shown},
            properties,
        )


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
        self._given: Any = ()
        self.form: _Form | None = None

    def prepare_message(self, *given: Any) -> Any:
        self._given = given

    def basic_publish(self, _: Any, *, exchange: str, routing_key: str, **__: Any) -> None:
        body, priority, content_type, content_encoding, headers, properties = self._given
        self.form = _Form(
            body=body,
            priority=priority,
            content_type=content_type,
            content_encoding=content_encoding,
            headers=headers,
            properties=properties,
            where={"exchange": exchange, "routing_key": routing_key},
        )

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
