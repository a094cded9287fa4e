"""Where a message goes: the topics of the queues that its exchange and routing key lead to."""

from typing import Final, NamedTuple

from kafka_transport.cluster import Cluster
from kafka_transport.durable import DurableQueues
from kafka_transport.names import exchange_topic
from kafka_transport.transient import TransientQueues

__all__ = ["Route", "Routes"]

#: Routes that are remembered; routing keys may be any number.
MOST_ROUTES: Final = 1024


class Route(NamedTuple):
    """One topic that gets a message."""

    topic: str
    #: Whether it is a durable queue's, rather than an exchange's for those who listen now.
    durable: bool


class Routes:
    """The routes of one connection, remembered until a queue or a binding changes."""

    def __init__(
        self, cluster: Cluster, durable: DurableQueues, transient: TransientQueues, prefix: str
    ) -> None:
        self._bindings: Final = cluster.bindings
        self._durable: Final = durable
        self._transient: Final = transient
        self._prefix: Final = prefix
        self._known: dict[tuple[str, str], list[Route]] = {}
        self._version = (-1, -1)

    def of(self, exchange: str, routing_key: str) -> list[Route]:
        """The topics that get a message.

        Transient queues are known to the processes that have them, so an exchange's own topic gets
        the message too, unless it was for durable queues alone: a direct exchange that led to one.
        """
        version = (self._bindings.version, self._transient.version)
        if version != self._version or len(self._known) > MOST_ROUTES:
            self._known = {}
            self._version = version
        routes = self._known.get((exchange, routing_key))
        if routes is None:
            routes = self._find(exchange, routing_key)
            # A queue that is not there may be declared elsewhere, of which nobody tells.
            if exchange or routes[0].durable:
                self._known[exchange, routing_key] = routes
        return routes

    def heard(self, exchange: str, routing_key: str) -> bool:
        """Whether a durable queue gets the message, or a transient one of this connection."""
        return any(route.durable for route in self.of(exchange, routing_key)) or bool(
            self._transient.bound(exchange, routing_key)
        )

    def _find(self, exchange: str, routing_key: str) -> list[Route]:
        if not exchange:
            if routing_key not in self._transient and self._durable.exists(routing_key):
                return [Route(self._durable.topic_of(routing_key), durable=True)]
            return [Route(exchange_topic("", self._prefix), durable=False)]
        bindings = self._bindings
        routes = [
            Route(self._durable.topic_of(queue), durable=True)
            for queue in bindings.queues(exchange, routing_key)
        ]
        if not routes or bindings.kind(exchange) != "direct":
            routes.append(Route(exchange_topic(exchange, self._prefix), durable=False))
        return routes
