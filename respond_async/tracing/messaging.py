"""What the spans of messages say of the broker and of the queue."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from celery import Celery

__all__ = ["Messaging"]

#: `messaging.system` of kombu's transports; others are called as their scheme is.
_SYSTEMS: Final = {
    "confluentkafka": "kafka",
    "amqp": "rabbitmq", "amqps": "rabbitmq", "pyamqp": "rabbitmq",
    "rediss": "redis", "sentinel": "redis",
    "sqs": "aws_sqs",
}  # fmt: skip

Attributes = dict[str, Any]


class Messaging:
    """Made once for each queue.

    Args:
        celery: Gives the Celery application, asked with the first message.
    """

    def __init__(self, celery: Callable[[], Celery]) -> None:
        self._celery: Final = celery
        self._system = ""
        self._sending: Final[dict[str, Attributes]] = {}
        self._processing: Final[dict[str, Attributes]] = {}

    def default_queue(self) -> str:
        """Where Celery sends what names no queue."""
        return str(self._celery().conf.task_default_queue)

    def sending(self, queue: str) -> Attributes:
        """Of each message that is sent to a queue."""
        if queue not in self._sending:
            self._sending[queue] = self._of(queue, "send")
        return self._sending[queue]

    def processing(self, queue: str) -> Attributes:
        """Of each delivery."""
        if queue not in self._processing:
            self._processing[queue] = self._of(queue, "process") | self._group(queue)
        return self._processing[queue]

    def _of(self, queue: str, operation: str) -> Attributes:
        if not self._system:
            url = self._celery().conf.broker_write_url or self._celery().conf.broker_url
            first = url if isinstance(url, str) else next(iter(url or ()), "")
            scheme = urlsplit(first).scheme.partition("+")[0]
            self._system = _SYSTEMS.get(scheme, scheme) or "unknown"
        return {
            "messaging.system": self._system,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": queue,
        }

    def _group(self, queue: str) -> Attributes:
        options: Any = self._celery().conf.broker_transport_options or {}
        if self._system != "kafka" or "group_id" not in options:
            return {}
        topic = f"{options.get('topic_prefix', '')}{queue}"
        return {"messaging.consumer.group.name": f"{options['group_id']}.{topic}"}
