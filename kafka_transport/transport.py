"""kombu's face of Kafka: scheme ``kafka://``."""

import os
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from kombu import Connection
from kombu.transport import base

from kafka_transport.address import DEFAULT_PORT, Address, bootstrap_servers, read_url, settle
from kafka_transport.arguments import QueueArguments
from kafka_transport.bindings import Binding
from kafka_transport.channel import Channel
from kafka_transport.cluster import Cluster, cluster_for
from kafka_transport.config import Options, client_properties
from kafka_transport.delivery import Delivery
from kafka_transport.dispatch import Dispatch
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import BrokerUnavailable, PoolNotSupported, PublishFailed
from kafka_transport.hidden import hide, reveal
from kafka_transport.names import exchange_topic
from kafka_transport.native import eventlet_patched
from kafka_transport.routing import Routes
from kafka_transport.security import security_properties
from kafka_transport.statistics import client_statistics
from kafka_transport.subscription import Subscription
from kafka_transport.tail import Tail
from kafka_transport.topics import EXCHANGE
from kafka_transport.transient import TransientQueues

if TYPE_CHECKING:
    from kafka_transport.operations import QueueLag
    from kafka_transport.operations.diagnosis import Finding

__all__ = ["TLSTransport", "Transport"]

#: Seconds after which no more messages are delivered before the event loop has looked at other
#: things: its timers, and the acks that Celery leaves to it. The solo pool runs tasks in here.
TURN_SECONDS: Final = 0.005


class Transport(base.Transport):
    """One kombu connection: its channels, its consumers, and the descriptor of its event loop."""

    scheme = "kafka"
    default_port = DEFAULT_PORT
    #: A URL with several brokers is ours to read: kombu's parser takes one host and port.
    can_parse_url = True
    driver_type = "kafka"
    driver_name = "confluent-kafka"
    connection_errors = (BrokerUnavailable, *base.Transport.connection_errors)
    recoverable_connection_errors = (BrokerUnavailable,)
    channel_errors = base.Transport.channel_errors
    recoverable_channel_errors = (PublishFailed,)
    implements = base.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
        heartbeats=False,
    )

    def __init__(self, client: Connection, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        settle(client)
        self._connection: Final = client
        client.transport_options = hide(client.transport_options or {})
        self.options: Final = Options.of(reveal(client.transport_options))
        self.connected = False
        self._pid = 0
        self._channels: Final[list[Channel]] = []
        self._next_channel_id = 1

    # The connection.

    def establish_connection(self) -> "Transport":
        """Makes sure that the cluster answers.

        Raises:
            BrokerUnavailable: It does not, within the connection's `connect_timeout`.
            LoginRefused: It does not know the user.
            PoolNotSupported: eventlet has patched this process.
            InvalidOption: A setting cannot be used.
        """
        if eventlet_patched():
            raise PoolNotSupported(
                "kafka:// does not work with eventlet, whose green threads stop while librdkafka "
                "waits: use -P gevent, -P threads, or an asyncio pool such as respond_async.pool"
            )
        client = self._connection
        password = client.password() if callable(client.password) else client.password
        self._properties = client_properties(
            servers=bootstrap_servers(client.hostname or "", client.port),
            security=security_properties(
                login=(client.userid, password or "") if client.userid else None,
                method=client.login_method,
                use_ssl=client.ssl or self.scheme == TLSTransport.scheme,
                token_callback=self.options.oauth_callback,
            ),
            options=self.options,
        )
        self.cluster: Cluster = cluster_for(self._properties, self.options)
        self.cluster.topics.check(client.connect_timeout or 5.0)
        self.durable = DurableQueues(self.cluster, self.options)
        self._transient = TransientQueues(self.cluster.bindings)
        self.routes = Routes(self.cluster, self.durable, self._transient, self.options.topic_prefix)
        self.dispatch = Dispatch(
            self._properties, self.options, self.cluster, self.durable, self._transient
        )
        self.inbox = self.dispatch.inbox
        self._tail: Tail | None = None
        self._pid = os.getpid()
        self.connected = True
        return self

    def verify_connection(self, connection: "Transport") -> bool:
        """Whether it is open; one that a fork inherited is not."""
        return connection.connected and not connection.inherited

    @property
    def inherited(self) -> bool:
        """Whether it was opened by the process that this one was forked from."""
        return self.connected and self._pid != os.getpid()

    def close_connection(self, connection: "Transport") -> None:
        """Leaves the consumer group and ends the threads."""
        if not connection.connected:
            return
        connection.connected = False
        tail = connection._tail  # noqa: SLF001
        if tail is not None:
            tail.leave()
        connection.dispatch.close()
        if tail is not None:
            tail.close()
        for channel in list(connection._channels):  # noqa: SLF001
            channel.close()
        connection.inbox.close()

    def create_channel(self, connection: "Transport") -> Channel:
        """Another channel; they cost nothing."""
        channel = Channel(connection, self._next_channel_id)
        self._next_channel_id += 1
        self._channels.append(channel)
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Called by the channel as it closes."""
        if channel in self._channels:
            self._channels.remove(channel)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:  # noqa: FBT001, FBT002
        """The broker URL as it may be shown; kombu gives the host name, taken out of the URL."""
        if "://" in uri:
            address = read_url(uri)
        else:
            client = self._connection
            address = Address(
                scheme=self.scheme,
                servers=bootstrap_servers(uri or "", client.port),
                user=client.userid,
                password=client.password() if callable(client.password) else client.password,
            )
        return address.as_url(mask=None if include_password else mask)

    def driver_version(self) -> str:
        """confluent-kafka's."""
        return version("confluent-kafka")

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """Where a broker is if nothing says otherwise."""
        return {"hostname": "localhost", "port": DEFAULT_PORT}

    # What monitors ask.

    def survey(self, named: Iterable[str]) -> "list[QueueLag]":
        """How far behind the project's queues are: those named that exist, and those beside them.

        Asks the brokers, so it takes a moment.

        Raises:
            KafkaTransportError: They refuse, or do not answer.
        """
        from kafka_transport.operations import lag, queues

        return lag(self.cluster, self.durable, queues(self.cluster, self.durable, named))

    @staticmethod
    def diagnose(connection: Connection, queues: Sequence[str]) -> "list[Finding]":
        """What keeps these queues from working, and what to do; opens the connection.

        Never raises because of the cluster: that is what is told.
        """
        from kafka_transport.operations.diagnosis import diagnose

        return diagnose(connection, queues)

    #: Of all clients of this process, whichever connection they belong to.
    client_statistics = staticmethod(client_statistics)

    # Queues and routes.

    def is_transient(self, queue: str) -> bool:
        """Whether the queue was declared as transient on this connection."""
        return queue in self._transient

    def declare_transient(
        self, queue: str, arguments: QueueArguments, *, auto_delete: bool
    ) -> None:
        """From here on the queue gets what is published to it."""
        self._transient.declare(queue, arguments, auto_delete=auto_delete)
        self._follow("")

    def bind(self, binding: Binding) -> None:
        """From here on the queue gets what the exchange leads to it."""
        if binding.queue in self._transient:
            self._transient.bind(binding)
            self._follow(binding.exchange)
        else:
            self.cluster.bindings.bind(binding)

    def unbind(self, binding: Binding) -> None:
        """Takes a binding back."""
        if binding.queue in self._transient:
            self._transient.unbind(binding)
            self._leave_unheard()
        else:
            self.cluster.bindings.unbind(binding)

    def delete_queue(self, queue: str, *, if_unused: bool, if_empty: bool) -> int:
        """Deletes a queue; how many messages were in it."""
        if if_unused and self.dispatch.is_consumed(queue):
            return 0
        if queue in self._transient:
            waiting = self.inbox.waiting_in(queue)
            if not (if_empty and waiting):
                self._transient.delete(queue)
                self.inbox.discard(queue)
                self._leave_unheard()
            return waiting
        waiting = self.durable.count(queue)
        if not (if_empty and waiting):
            self.durable.delete(queue)
        return waiting

    def _follow(self, exchange: str) -> None:
        topic = exchange_topic(exchange, self.options.topic_prefix)
        if self._tail is None:
            self._tail = Tail(
                self._properties,
                self.options,
                self.inbox,
                self._transient.deliveries,
                self._forget_expired,
                self.dispatch.on_failure,
            )
        if not self._tail.follows(topic):
            self.cluster.topics.ensure(topic, EXCHANGE)
            self._tail.follow(topic, self.cluster.topics.end_offsets(topic))

    def _leave_unheard(self) -> None:
        if self._tail is not None:
            prefix = self.options.topic_prefix
            heard = {exchange_topic(name, prefix) for name in self._transient.exchanges()}
            self._tail.leave_all_but(heard)

    def _forget_expired(self) -> None:
        for queue in self._transient.expired(time.monotonic()):
            self.delete_queue(queue, if_unused=True, if_empty=False)

    # Consumers and deliveries.

    def subscribe(self, subscription: Subscription) -> None:
        """Adds a consumer; raises like `Dispatch.subscribe`."""
        self.dispatch.subscribe(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Takes a consumer away; with its last one an auto-delete queue ends."""
        queue = subscription.queue
        if self.dispatch.unsubscribe(subscription) and self._transient.deleted_with_last_consumer(
            queue
        ):
            self.delete_queue(queue, if_unused=False, if_empty=False)

    def requeue(self, delivery: Delivery) -> None:
        """Puts a message at the end of its queue; returns once it is there."""
        if delivery.origin is None:
            self.inbox.put([delivery])
        else:
            self.durable.requeue(delivery)

    def drain_events(self, connection: "Transport", timeout: float | None = None, **_: Any) -> None:
        """Delivers one message, waiting for it up to `timeout` seconds.

        Raises:
            TimeoutError: None came (`socket.timeout`, as kombu expects it).
            BrokerUnavailable: The Kafka client failed for good.
        """
        dispatch = connection.dispatch
        deadline = None if timeout is None else time.monotonic() + timeout
        while not dispatch.deliver_one():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            dispatch.wait(left)

    def register_with_event_loop(self, connection: "Transport", loop: Any) -> None:
        """Lets the worker's event loop deliver as messages come in."""
        loop.add_reader(connection.inbox.fileno(), connection.on_readable, connection, loop)

    def unregister_from_event_loop(self, connection: "Transport", loop: Any) -> None:
        """Takes the descriptor back."""
        loop.remove_reader(connection.inbox.fileno())

    def on_readable(self, connection: "Transport", loop: Any) -> None:  # noqa: ARG002
        """Delivers what is there, for a moment at a time so that the loop is heard too."""
        self.inbox.hush()
        end = time.monotonic() + TURN_SECONDS
        while self.dispatch.deliver_one():
            if time.monotonic() > end:
                self.inbox.ring()
                return

    def qos_semantics_matches_spec(self, connection: "Transport") -> bool:  # noqa: ARG002
        """No: as with RabbitMQ, a prefetch count is each consumer's unless it is global."""
        return False


class TLSTransport(Transport):
    """``kafkas://``: over TLS without ``broker_use_ssl`` saying so."""

    scheme = "kafkas"
