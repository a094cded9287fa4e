"""Flower on ``kafka://``: importing this module is all.

In Flower's own configuration file, which is Python (``flowerconfig.py``, or ``--conf``)::

    import kafka_transport.flower

Flower makes what reads queues in one place, `flower.utils.broker.Broker`, by the URL's scheme; there
``kafka`` and ``kafkas`` are added. What a killed worker did not tell `flower_lost` finds out.
Everything else of Flower needs no more than the transport.
"""

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from celery.app import app_or_default
from flower.utils.broker import Broker
from kombu.exceptions import KombuError
from tornado.web import HTTPError

import kafka_transport
from kafka_transport import flower_lost

if TYPE_CHECKING:
    from celery import Celery

    from kafka_transport.operations import QueueLag

__all__ = ["KafkaQueues", "register"]

logger = logging.getLogger(__name__)

#: Seconds until a cluster that does not answer is given up: somebody looks at an empty page.
_CONNECT_SECONDS: Final = 3.0
_SCHEMES: Final = (kafka_transport.SCHEME, kafka_transport.TLS_SCHEME)


class KafkaQueues:
    """What Flower asks for the queues of a Celery application.

    Args:
        app: Its connections are made as a worker's are: options, login, several brokers.
    """

    def __init__(self, app: "Celery") -> None:
        self._app: Final = app

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The numbers of the named queues, and of the project's others that the cluster has.

        Names and meanings are those of RabbitMQ's management API, which Flower's page shows:
        `messages` are all that are not done, `messages_ready` no worker was given yet,
        `messages_unacknowledged` a worker has. Beyond that: `messages_delayed` (not due yet),
        `dead_letters` and `oldest_seconds` (None: nothing waits), in ``/api/queues/length``.

        Raises:
            HTTPError: 503: the cluster does not answer, or refuses.
        """
        wanted = list(names)
        try:
            # Asking takes round trips, and the loop serves all of Flower's pages.
            found = await asyncio.get_running_loop().run_in_executor(None, self._survey, wanted)
        except (KombuError, OSError) as error:
            logger.warning("Kafka does not tell how long the queues are: %s", error)
            raise HTTPError(HTTPStatus.SERVICE_UNAVAILABLE, f"Kafka: {error}") from error
        return [_row(each) for each in found]

    def _survey(self, names: list[str]) -> "list[QueueLag]":
        with self._app.connection_for_read(connect_timeout=_CONNECT_SECONDS) as connection:
            transport: Any = connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0
            ).transport
            found: list[QueueLag] = transport.survey(names)
        return found


def register() -> None:
    """Has Flower's factory know ``kafka`` and ``kafkas``; a second time it does nothing.

    Raises:
        ImportError: This Flower makes its brokers in another way.
    """
    stock: Any = Broker.__new__
    if getattr(stock, "knows_kafka", False):
        return
    if stock is object.__new__:
        raise ImportError("flower.utils.broker.Broker is no factory any more: Flower 2 is needed")

    def made(cls: type, broker_url: str, *args: Any, **kwargs: Any) -> Any:
        if broker_url.partition("://")[0] in _SCHEMES:
            return KafkaQueues(app_or_default())
        return stock(cls, broker_url, *args, **kwargs)

    made.knows_kafka = True  # type: ignore[attr-defined]
    Broker.__new__ = made


def _row(lag: "QueueLag") -> dict[str, Any]:
    return {
        "name": lag.queue,
        "messages": lag.waiting + lag.delayed + lag.running,
        "messages_ready": lag.waiting,
        "messages_unacknowledged": lag.running,
        "messages_delayed": lag.delayed,
        "consumers": len(lag.consumers),
        "dead_letters": lag.dead,
        "oldest_seconds": lag.oldest_seconds,
    }


register()
flower_lost.register()
