"""A kombu channel: AMQP's operations, said to Kafka."""

import itertools
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import ChannelError
from amqp.protocol import queue_declare_ok_t
from kombu.transport import base
from kombu.transport.base import to_rabbitmq_queue_arguments  # type: ignore[attr-defined]

from kafka_transport.arguments import QueueArguments
from kafka_transport.bindings import Binding
from kafka_transport.confirmations import Confirmation, collect, collecting
from kafka_transport.delays import due_time
from kafka_transport.delivery import Delivery
from kafka_transport.errors import QueueNotFound, Unroutable
from kafka_transport.message import Message
from kafka_transport.publish_batch import PublishBatch
from kafka_transport.publisher import Destination, Outgoing
from kafka_transport.subscription import Prefetch, Subscription
from kafka_transport.template import Template
from kafka_transport.topics import EXCHANGE
from kafka_transport.wire import PreparedMessage, encode, message_id

if TYPE_CHECKING:
    from concurrent.futures import Future

    from kafka_transport.transport import Transport

__all__ = ["Channel"]

#: One delivery, one tag, never used again: a partition that leaves and comes back delivers the
#: same offset while its first copy still runs.
_tags: Final = itertools.count(1)


class Channel(base.StdChannel):
    """Made by `Transport.create_channel`. Acks may come from any thread, all else from one."""

    def __init__(self, connection: "Transport", channel_id: int) -> None:
        self.connection: Transport | None = connection
        self.channel_id: Final = channel_id
        self.no_ack_consumers: set[str] | None = set()
        self.prefetch: Final = Prefetch()
        self.closed = False
        # A late ack still finds it when the channel is closed.
        self._dispatch: Final = connection.dispatch
        self._subscriptions: Final[dict[str, Subscription]] = {}
        #: By tag, with the consumer that has it; what `basic_get` fetched has none.
        self._unacked: Final[dict[int, tuple[Delivery, Subscription | None]]] = {}
        #: Kept as amqp's channel does: kombu's producers add their `on_return` here.
        self.events: Final[dict[str, set[Callable[..., Any]]]] = {"basic_return": set()}

    @property
    def _transport(self) -> "Transport":
        if self.connection is None:
            raise ChannelError("this channel is closed: open another")
        if self.connection.inherited:
            # Of a parent's connection a fork keeps nothing but the settings.
            self.connection.establish_connection()
        return self.connection

    # Exchanges, queues, bindings.

    def exchange_declare(
        self,
        exchange: str = "",
        type: str = "direct",  # noqa: A002
        **_: Any,
    ) -> None:
        """Notes the exchange's type: direct, topic or fanout."""
        self._transport.cluster.bindings.declare_exchange(exchange, type or "direct")

    def exchange_delete(self, exchange: str, **_: Any) -> None:
        """Forgets the exchange and what is bound to it, in this process."""
        self._transport.cluster.bindings.delete_exchange(exchange)

    def queue_declare(  # noqa: PLR0917  # kombu calls it so
        self,
        queue: str = "",
        passive: bool = False,  # noqa: FBT001, FBT002
        durable: bool = True,  # noqa: FBT001, FBT002
        exclusive: bool = False,  # noqa: FBT001, FBT002
        auto_delete: bool = False,  # noqa: FBT001, FBT002
        arguments: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> queue_declare_ok_t:
        """Makes the topics of a durable queue; begins to listen for a transient one.

        The message count is asked for only where it is what the caller wants: with `passive`.

        Raises:
            QueueNotFound: `passive`, and there is no such queue.
            InvalidOption: An argument has a value that cannot be used.
        """
        queue = queue or f"amq.gen-{uuid.uuid4()}"
        transport = self._transport
        count = 0
        if passive:
            if transport.is_transient(queue):
                count = transport.inbox.waiting_in(queue)
            elif transport.durable.exists(queue):
                count = transport.durable.count(queue)
            else:
                raise QueueNotFound(f"there is no queue {queue!r}: declare it first")
        elif auto_delete or exclusive or not durable:
            transport.declare_transient(
                queue, QueueArguments.of(arguments), auto_delete=auto_delete or exclusive
            )
        else:
            transport.durable.declare(queue, QueueArguments.of(arguments))
        return queue_declare_ok_t(queue, count, 0)

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **options: Any
    ) -> dict[str, Any]:
        """Kombu's `Queue(max_priority=, message_ttl=, expires=)` under RabbitMQ's names."""
        prepared: dict[str, Any] = to_rabbitmq_queue_arguments(arguments or {}, **options)
        return prepared

    def queue_bind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        """Binds a queue to an exchange."""
        self._transport.bind(Binding(exchange, routing_key, queue))

    def queue_unbind(self, queue: str, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        """Takes a binding back."""
        self._transport.unbind(Binding(exchange, routing_key, queue))

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,  # noqa: FBT001, FBT002
        if_empty: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> int:
        """Ends a transient queue; deletes a durable one's topic. How many messages went with it."""
        return self._transport.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)

    def queue_purge(self, queue: str, **_: Any) -> int:
        """Deletes what waits in a queue; how many messages that were."""
        transport = self._transport
        if transport.is_transient(queue):
            return transport.inbox.discard(queue)
        return transport.durable.purge(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """A reply queue has served its purpose."""
        self.queue_delete(queue)

    # Publishing.

    def prepare_message(  # noqa: PLR0917  # kombu calls it so
        self,
        body: str | bytes,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
    ) -> PreparedMessage:
        """What `basic_publish` takes."""
        properties = {} if properties is None else properties
        properties.setdefault("priority", priority or 0)
        return {
            "body": body,
            "content_type": content_type,
            "content_encoding": content_encoding,
            "headers": {} if headers is None else headers,
            "properties": properties,
        }

    def basic_publish(
        self,
        message: PreparedMessage,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,  # noqa: FBT001, FBT002
        confirm_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Sends a message to where the exchange and the routing key lead.

        For a durable queue it returns once the broker acknowledged (`confirm_publish`), unless the
        caller collects confirmations. What is for those who listen now (remote control, events,
        replies) is sent without waiting.

        Raises:
            KafkaTransportError: The message was not stored, with the broker's reason.
            Unroutable: It is `mandatory`, no queue gets it, and there is no `on_return`.
        """
        transport = self._transport
        exchange, routing_key = exchange or "", routing_key or ""
        if mandatory and not transport.routes.heard(exchange, routing_key):
            self._return(message, exchange, routing_key)
            return
        publisher, topics = transport.cluster.publisher, transport.cluster.topics
        value, key, headers = encode(message, exchange, routing_key)
        due = due_time(message["headers"]) if transport.options.durable_delays else None
        priority = int(message["properties"].get("priority") or 0)
        collected = collecting()
        confirmations: list[Confirmation] = []
        for topic, durable in transport.routes.of(exchange, routing_key):
            to = (
                transport.durable.destination(topic, due, priority)
                if durable
                else Destination(topic, topics.ensure(topic, EXCHANGE))
            )
            record = Outgoing(to, value, headers, key)
            if collected is not None:
                collected.publish(publisher, record, message_id(message))
            elif durable and transport.options.confirm_publish:
                confirmation = Confirmation()
                publisher.send(record, confirmation.report)
                confirmations.append(confirmation)
            else:
                publisher.post(record)
        for confirmation in confirmations:
            publisher.wait(confirmation, confirm_timeout)

    def confirmed_publish(
        self, message: PreparedMessage, exchange: str = "", routing_key: str = "", **_: Any
    ) -> "Future[None]":
        """As `basic_publish`, without waiting: the future ends when the broker has the message.

        Raises:
            KafkaTransportError: The message cannot even be sent.
        """
        with collect() as confirmations:
            self.basic_publish(message, exchange, routing_key)
        return confirmations.future()

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """What kombu's `Producer.batch()` publishes with."""
        return PublishBatch(self, max_size)

    def template(self, message: PreparedMessage, words: tuple[str, ...], **where: Any) -> Template:
        """A message to be published again and again, from an event loop, with `words` replaced.

        `where` is what `basic_publish` is given.
        """
        return Template(self, lambda: self._transport, message, words, **where)

    def _return(self, message: PreparedMessage, exchange: str, routing_key: str) -> None:
        """AMQP's basic.return, to the `on_return` of kombu's producers."""
        error = Unroutable(
            f"no queue is bound to exchange {exchange!r} for routing key {routing_key!r}"
        )
        if not self.events["basic_return"]:
            raise error
        for on_return in self.events["basic_return"]:
            on_return(error, exchange, routing_key, message)

    # Consuming.

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,  # noqa: FBT001, FBT002
        callback: Callable[[base.Message], Any] | None = None,
        consumer_tag: str | None = None,
        **_: Any,
    ) -> str:
        """Begins to deliver a queue's messages to `callback`."""
        assert callback is not None
        tag = consumer_tag or f"ctag-{uuid.uuid4()}"
        subscription = Subscription(tag, queue, callback, no_ack, self, self.prefetch)
        self._subscriptions[tag] = subscription
        if no_ack and self.no_ack_consumers is not None:
            self.no_ack_consumers.add(tag)
        self._transport.subscribe(subscription)
        return tag

    def basic_cancel(self, consumer_tag: str, **_: Any) -> None:
        """Delivers nothing more to this consumer. What it has stays its to ack."""
        subscription = self._subscriptions.pop(consumer_tag, None)
        if self.no_ack_consumers is not None:
            self.no_ack_consumers.discard(consumer_tag)
        if subscription is not None and self.connection is not None:
            self.connection.unsubscribe(subscription)

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> base.Message | None:  # noqa: FBT001, FBT002
        """The queue's next message, or None if it is empty; no prefetch count limits it."""
        delivery = self._transport.dispatch.get(queue)
        return None if delivery is None else self._message(delivery, None, no_ack=no_ack)

    def basic_qos(
        self,
        prefetch_size: int = 0,  # noqa: ARG002
        prefetch_count: int = 0,
        apply_global: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> None:
        """At most `prefetch_count` unacked messages, 0 is any number.

        For each consumer of this channel; with `apply_global`, for all of them together. It may be
        changed at any time: consumers that have more keep them.
        """
        if apply_global:
            self.prefetch.shared = prefetch_count
        else:
            self.prefetch.each = prefetch_count
        self._transport.dispatch.room()

    def deliver(self, subscription: Subscription, delivery: Delivery) -> None:
        """Hands a message to its consumer; called by the thread that drains the connection."""
        subscription.callback(self._message(delivery, subscription, no_ack=subscription.no_ack))

    def _message(
        self, delivery: Delivery, subscription: Subscription | None, *, no_ack: bool
    ) -> base.Message:
        envelope = delivery.envelope
        tag = next(_tags)
        delivery.begin()
        if no_ack:
            self._transport.dispatch.acked(delivery)
        else:
            self._unacked[tag] = delivery, subscription
            if subscription is not None:
                subscription.unacked.add(tag)
                self.prefetch.unacked.add(tag)
        return Message(
            body=envelope.body,  # type: ignore[arg-type]  # bytes, as from amqp
            delivery_tag=tag,  # type: ignore[arg-type]  # a number, as from amqp
            content_type=envelope.content_type,
            content_encoding=envelope.content_encoding,
            headers=envelope.headers,
            properties=envelope.properties,
            delivery_info={
                "exchange": envelope.exchange,
                "routing_key": envelope.routing_key,
                "redelivered": delivery.deliveries > 1,
                "delivery_count": delivery.deliveries - 1,
                "priority": envelope.properties.get("priority", 0),
            },
            channel=self,
        )

    # Acks, from any thread.

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:  # noqa: FBT001, FBT002
        """This message is done; with `multiple`, all delivered before it on this channel too."""
        tags = (
            [tag for tag in list(self._unacked) if tag <= delivery_tag]
            if multiple
            else [delivery_tag]
        )
        for tag in tags:
            delivery, subscription = self._unacked.pop(tag, (None, None))
            if delivery is None:
                continue
            if subscription is not None:
                subscription.unacked.discard(tag)
                self.prefetch.unacked.discard(tag)
            self._dispatch.acked(delivery)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:  # noqa: FBT001, FBT002
        """Moves a message to the dead letters, or to the end of its queue; then it is acked here.

        Raises:
            KafkaTransportError: It could not be moved; it stays unacked and comes again.
        """
        delivery, _ = self._unacked.get(delivery_tag, (None, None))
        if delivery is not None and requeue:
            self._transport.requeue(delivery)
        elif delivery is not None:
            self._transport.durable.bury(delivery, "rejected by its consumer")
        self.basic_ack(delivery_tag)

    def basic_recover(self, requeue: bool = True) -> None:  # noqa: FBT001, FBT002
        """Puts all unacked messages of this channel back."""
        for tag in list(self._unacked):
            self.basic_reject(tag, requeue=requeue)

    def close(self) -> None:
        """Cancels the consumers. What is unacked is delivered again, here or elsewhere."""
        if self.closed:
            return
        self.closed = True
        for tag in list(self._subscriptions):
            self.basic_cancel(tag)
        if self.connection is not None:
            # The entries stay in `_unacked`: a task that ends later may still ack.
            self._dispatch.give_back([delivery for delivery, _ in list(self._unacked.values())])
            self.connection.close_channel(self)
            self.connection = None
