"""Who gets which message: the consumers of one connection, and the queues that they read."""

import select
import time
from collections import deque
from typing import Any, Final

from confluent_kafka import KafkaError

from kafka_transport.cluster import Cluster
from kafka_transport.config import Options
from kafka_transport.consumer import GroupConsumer
from kafka_transport.delivery import Delivery
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import BrokerUnavailable, KafkaTransportError, QueueNotFound
from kafka_transport.expiry import is_expired
from kafka_transport.inbox import Inbox
from kafka_transport.subscription import Subscription
from kafka_transport.transient import TransientQueues

__all__ = ["Dispatch"]

#: Seconds that `basic_get` waits for a queue that is not empty to deliver.
GET_SECONDS: Final = 10.0

#: Seconds for which `basic_get` keeps its share of a queue, as another one may follow.
GET_AGAIN_SECONDS: Final = 2.0


class Dispatch:
    """Called by the thread that drains the connection; `acked` from any thread."""

    def __init__(
        self,
        properties: dict[str, Any],
        options: Options,
        cluster: Cluster,
        durable: DurableQueues,
        transient: TransientQueues,
    ) -> None:
        self.inbox: Final = Inbox()
        self._properties: Final = properties
        self._options: Final = options
        self._cluster: Final = cluster
        self._durable: Final = durable
        self._transient: Final = transient
        self._subscriptions: Final[dict[str, deque[Subscription]]] = {}
        #: Of durable queues that are consumed, or were asked for a message a moment ago.
        self._members: Final[dict[str, GroupConsumer]] = {}
        self._leaving: list[GroupConsumer] = []
        #: A message is there and no consumer has room for it.
        self._starved = False
        self._failure: KafkaError | KafkaTransportError | None = None

    # Consumers.

    def is_consumed(self, queue: str) -> bool:
        """Whether the queue has a consumer on this connection."""
        return queue in self._subscriptions

    def subscribe(self, subscription: Subscription) -> None:
        """Adds a consumer; several on one queue take turns.

        Raises:
            QueueNotFound: No such queue was declared.
        """
        queue = subscription.queue
        if queue in self._transient:
            self._transient.used(queue, consumed=True)
        else:
            self._member(queue)
        self._subscriptions.setdefault(queue, deque()).append(subscription)
        self.inbox.ring()

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Takes a consumer away; true if it was the queue's last one, which then is not read."""
        queue = subscription.queue
        consumers = self._subscriptions.get(queue)
        if consumers is None or subscription not in consumers:
            return False
        consumers.remove(subscription)
        if consumers:
            return False
        del self._subscriptions[queue]
        self._transient.used(queue, consumed=False)
        self._leave(queue)
        return True

    def give_back(self, deliveries: list[Delivery]) -> None:
        """What a closed channel did not ack: to other consumers here, else back to the group."""
        for delivery in reversed(deliveries):
            if delivery.queue not in self._subscriptions or not self.inbox.put_back(delivery):
                delivery.drop()
        self.inbox.ring()

    def acked(self, delivery: Delivery) -> None:
        """A message is done; from any thread."""
        if delivery.settle() or self._starved:
            self.inbox.ring()

    def room(self) -> None:
        """A consumer may have more messages than before."""
        self.inbox.ring()

    def close(self) -> None:
        """Leaves the groups and ends the threads."""
        members = [*self._members.values(), *self._leaving]
        for member in members:
            member.leave()
        for member in members:
            member.close()

    # Deliveries.

    def get(self, queue: str) -> Delivery | None:
        """A queue's next message, or None if it is empty, or all that is in it others have.

        Without a consumer here it joins the queue's group, and leaves soon after: what waits in
        the partitions that it holds meanwhile is nobody else's.
        """
        if queue in self._transient:
            self._transient.used(queue)
            return self._take(queue)
        if not self._durable.exists(queue):
            raise QueueNotFound(f"there is no queue {queue!r}: declare it first")
        delivery = self._take(queue) if queue in self._members else None
        if delivery is None and (queue in self._members or self._durable.count(queue)):
            delivery = self._wait_for(queue)
        if queue in self._members and queue not in self._subscriptions:
            self._members[queue].stay(GET_AGAIN_SECONDS)
        return delivery

    def _wait_for(self, queue: str) -> Delivery | None:
        consumed = queue in self._subscriptions
        member = self._member(queue, None if consumed else GET_SECONDS + GET_AGAIN_SECONDS)
        ends = self._durable.ends(queue)
        deadline = time.monotonic() + GET_SECONDS
        while True:
            read_all = member.has_read_to(ends)
            delivery = self._take(queue)
            if delivery is not None or read_all or time.monotonic() > deadline:
                # The bell may have rung for another queue.
                self.inbox.ring()
                return delivery
            self.wait(0.01)

    def deliver_one(self) -> bool:
        """Hands the next message to a consumer with room; false if there is none."""
        if isinstance(self._failure, KafkaTransportError):
            raise self._failure
        if self._failure is not None:
            raise BrokerUnavailable(f"the Kafka client failed: {self._failure.str()}")
        for queue in self.inbox.queues():
            subscription = self._next_subscription(queue)
            delivery = self._take(queue) if subscription is not None else None
            if subscription is not None and delivery is not None:
                subscription.channel.deliver(subscription, delivery)
                return True
        return False

    def wait(self, seconds: float | None) -> None:
        """Returns when there may be something to deliver, at the latest after `seconds`."""
        poller = select.poll()
        poller.register(self.inbox.fileno(), select.POLLIN)
        if poller.poll(None if seconds is None else max(1, int(seconds * 1000))):
            self.inbox.hush()

    def on_failure(self, error: KafkaError | KafkaTransportError) -> None:
        """A consumer ended; the next look for a message says so. From any thread."""
        self._failure = error
        self.inbox.ring()

    def _take(self, queue: str) -> Delivery | None:
        while True:
            delivery = self.inbox.take(queue)
            if delivery is None:
                return None
            if delivery.source is None:
                if not is_expired(delivery.envelope, self._transient.ttl(queue)):
                    return delivery
            elif delivery.open():
                return delivery
            else:
                delivery.let_next()

    def _next_subscription(self, queue: str) -> Subscription | None:
        consumers = self._subscriptions.get(queue)
        if consumers is None:
            return None
        for starved in (True, False):
            for _ in range(len(consumers)):
                consumers.rotate(-1)
                if consumers[-1].has_room:
                    self._starved = False
                    return consumers[-1]
            # Said before the second look: who acks after that rings.
            self._starved = self._starved or starved
        return None

    # Membership.

    def _member(self, queue: str, seconds: float | None = None) -> GroupConsumer:
        """This connection's member of the queue's group; without a consumer it stays so long."""
        member = self._members.get(queue)
        if member is not None and member.stay(seconds):
            return member
        if not self._durable.exists(queue):
            raise QueueNotFound(f"there is no queue {queue!r}: declare it before consuming")
        if member is not None:
            self._leaving.append(member)
        member = self._members[queue] = GroupConsumer(
            queue,
            self._durable.topics_of(queue),
            self._durable.arguments_of(queue),
            self._properties,
            self._options,
            self.inbox,
            self._cluster,
            self.on_failure,
            stays=seconds,
        )
        # Now that its topic of delays is there too.
        for topic in self._durable.with_messages(queue):
            self._cluster.retention.watch(topic, self._durable.group_of(queue))
        return member

    def _leave(self, queue: str) -> None:
        member = self._members.pop(queue, None)
        if member is not None:
            member.cancel()
            self._leaving = [m for m in self._leaving if not m.has_left] + [member]
