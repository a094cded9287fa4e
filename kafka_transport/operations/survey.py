"""Topics, lag and offsets of a project's queues: what `kafka topics|lag|offsets` shows.

All of it is read from the broker: no worker is asked, so it works with none running. What a worker
does is known from its commits, which are some 10 ms old.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kafka_transport.admin import Admin
from kafka_transport.cluster import Cluster
from kafka_transport.delays import delay_topic
from kafka_transport.durable import DurableQueues
from kafka_transport.errors import QueueNotFound
from kafka_transport.names import exchange_topic, queue_of
from kafka_transport.operations import requests
from kafka_transport.operations.reading import Reader
from kafka_transport.operations.requests import Committed, Range
from kafka_transport.partitions import Place
from kafka_transport.topics import dead_letter_topic

__all__ = [
    "Member",
    "PartitionOffsets",
    "QueueLag",
    "TopicInfo",
    "lag",
    "offsets",
    "queues",
    "topics",
]

_EXCHANGE: Final = exchange_topic("").removeprefix("default")

#: Endings of the topics that stand beside a queue's own.
_BESIDE: Final = {delay_topic(""): "delay", dead_letter_topic(""): "dead letters"}


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic of the project."""

    name: str
    #: "queue", "delay", "dead letters" or "exchange".
    kind: str
    partitions: int
    replicas: int
    #: Records that it holds, done ones too.
    messages: int
    #: How long it keeps them, -1 for ever; None where the user may not ask.
    retention_ms: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """A connection that consumes a queue."""

    client_id: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True)
class QueueLag:
    """How far a queue's consumers are behind."""

    queue: str
    #: Messages that no consumer was given yet.
    waiting: int
    #: Messages that are not due.
    delayed: int
    #: Messages that a consumer was given and has not acked.
    running: int
    #: Messages that are done beyond the oldest one that is not.
    acked_beyond: int
    #: Records in the queue's dead letters, those not yet tidied away among them.
    dead: int
    #: Seconds since the oldest message that is not done was published; None if there is none.
    oldest_seconds: float | None
    consumers: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """One partition of a queue's topics."""

    queue: str
    topic: str
    partition: int
    low: int
    end: int
    #: None: the group has stored nothing yet.
    committed: int | None
    acked_beyond: int
    running: int
    #: Messages that are not done.
    behind: int
    #: Offsets from the oldest unfinished message to the newest that a consumer was given.
    ahead: int
    #: Whether `ahead` is at `max_ahead`: nothing more is delivered until the oldest one is done.
    held_back: bool
    #: Client and host that consume it; None: nobody.
    consumer: str | None


def queues(cluster: Cluster, durable: DurableQueues, named: Iterable[str]) -> list[str]:
    """The project's queues: those that it names, and those with topics beside them."""
    there = requests.layout(cluster.topics.admin)
    prefix = durable.topic_prefix
    found = {queue for queue in named if durable.topic_of(queue) in there}
    for topic in there:
        if topic.startswith(prefix):
            for ending in _BESIDE:
                owner = topic.removesuffix(ending)
                name = queue_of(owner, prefix)
                # Of a name that was cut only the project knows the rest.
                if owner != topic and owner in there and name and durable.topic_of(name) == owner:
                    found.add(name)
    return sorted(found)


def topics(
    cluster: Cluster, durable: DurableQueues, names: Sequence[str], *, exchanges: bool = True
) -> list[TopicInfo]:
    """The topics of these queues, and of the exchanges if wanted.

    Raises:
        QueueNotFound: There is no such queue.
    """
    admin = cluster.topics.admin
    there = requests.layout(admin)
    kinds: dict[str, str] = {}
    for queue in names:
        own = _own_topic(durable, queue, there)
        kinds |= dict.fromkeys(durable.with_messages(queue), "queue")
        kinds[own] = "queue"
        kinds |= {own + ending: kind for ending, kind in _BESIDE.items() if own + ending in there}
    if exchanges:
        prefix = durable.topic_prefix
        kinds |= {
            topic: "exchange"
            for topic in there
            if topic.startswith(prefix) and topic.endswith(_EXCHANGE)
        }
    held = requests.ranges(admin, _places(kinds, there))
    kept = requests.retention(admin, list(kinds))
    return [
        TopicInfo(
            topic,
            kind,
            *there[topic],
            sum(high - low for (name, _), (low, high) in held.items() if name == topic),
            kept.get(topic),
        )
        for topic, kind in sorted(kinds.items())
    ]


def offsets(
    cluster: Cluster, durable: DurableQueues, names: Sequence[str]
) -> list[PartitionOffsets]:
    """Every partition of these queues; raises like `topics`."""
    admin = cluster.topics.admin
    there = requests.layout(admin)
    found = []
    for queue in names:
        _own_topic(durable, queue, there)
        group_id = durable.group_of(queue)
        places = _places(durable.with_messages(queue), there)
        held = requests.ranges(admin, places)
        stored = requests.committed(cluster.topics, group_id, places)
        consumers = {
            place: f"{member.client_id} at {member.host}"
            for member in requests.assigned(admin, group_id)
            for place in member.places
        }
        found += [
            _of_partition(
                durable,
                queue,
                place,
                held=held[place],
                stored=stored[place],
                consumer=consumers.get(place),
            )
            for place in places
        ]
    return found


def lag(cluster: Cluster, durable: DurableQueues, names: Sequence[str]) -> list[QueueLag]:
    """How far behind each of these queues is; raises like `topics`."""
    admin = cluster.topics.admin
    there = requests.layout(admin)
    partitions = offsets(cluster, durable, names)
    oldest = _oldest(cluster, [each for each in partitions if each.behind and not _delayed(each)])
    found = []
    for queue in names:
        mine = [each for each in partitions if each.queue == queue]
        now = [each for each in mine if not _delayed(each)]
        dead = requests.ranges(admin, _places([dead_letter_topic(durable.topic_of(queue))], there))
        running = sum(each.running for each in now)
        since = [oldest[place] for each in now if (place := (each.topic, each.partition)) in oldest]
        found.append(
            QueueLag(
                queue,
                waiting=sum(each.behind for each in now) - running,
                delayed=sum(each.behind for each in mine if _delayed(each)),
                running=running,
                acked_beyond=sum(each.acked_beyond for each in now),
                dead=sum(high - low for low, high in dead.values()),
                oldest_seconds=max(0.0, time.time() - min(since)) if since else None,
                consumers=_members(admin, durable, queue),
            )
        )
    return found


def _of_partition(
    durable: DurableQueues,
    queue: str,
    place: Place,
    *,
    held: Range,
    stored: Committed,
    consumer: str | None,
) -> PartitionOffsets:
    begins = held.low if durable.starts_at_earliest else held.high
    position = begins if stored.offset is None else min(max(stored.offset, held.low), held.high)
    done = {offset for offset in stored.done if position <= offset < held.high}
    begun = {offset for offset in stored.begun if position <= offset < held.high}
    ahead = max(done | begun, default=position - 1) - position + 1
    return PartitionOffsets(
        queue,
        *place,
        low=held.low,
        end=held.high,
        committed=stored.offset,
        acked_beyond=len(done),
        running=len(begun),
        behind=held.high - position - len(done),
        ahead=ahead,
        held_back=ahead >= durable.max_ahead,
        consumer=consumer,
    )


def _oldest(cluster: Cluster, partitions: Sequence[PartitionOffsets]) -> dict[Place, float]:
    """When the oldest unfinished message of each partition was published."""
    starts = {
        (each.topic, each.partition): each.low if each.committed is None else each.committed
        for each in partitions
    }
    with Reader(cluster) as reader:
        return {
            place: record.timestamp()[1] / 1000
            for place, record in reader.first_records(starts).items()
        }


def _members(admin: Admin, durable: DurableQueues, queue: str) -> tuple[Member, ...]:
    # Of the delays the group has partitions too, which say nothing of who runs what.
    counted = [
        (member, sum(not topic.endswith(delay_topic("")) for topic, _ in member.places))
        for member in requests.assigned(admin, durable.group_of(queue))
    ]
    return tuple(Member(member.client_id, member.host, mine) for member, mine in counted)


def _delayed(partition: PartitionOffsets) -> bool:
    return partition.topic.endswith(delay_topic(""))


def _own_topic(durable: DurableQueues, queue: str, there: dict[str, tuple[int, int]]) -> str:
    topic = durable.topic_of(queue)
    if topic not in there:
        raise QueueNotFound(
            f"there is no queue {queue!r}: Kafka has no topic {topic!r}, or the user may not see it"
        )
    return topic


def _places(names: Iterable[str], there: dict[str, tuple[int, int]]) -> list[Place]:
    return [(name, p) for name in names if name in there for p in range(there[name][0])]
