"""What the cluster is asked for a survey; every answer is plain data.

A request that the broker refuses says which ACL it lacks.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import (
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it has no __all__
    ConfigResource,
    MemberDescription,
    OffsetSpec,
    ResourceType,
)

from kafka_transport.admin import REQUEST_SECONDS, Admin
from kafka_transport.commit_metadata import decode_metadata
from kafka_transport.errors import NotAuthorized
from kafka_transport.partitions import Place
from kafka_transport.topics import Topics

__all__ = [
    "Assigned",
    "Committed",
    "Range",
    "assigned",
    "committed",
    "delete_before",
    "layout",
    "ranges",
    "retention",
]


class Range(NamedTuple):
    """Offsets of a partition's oldest record and of its next one."""

    low: int
    high: int


class Committed(NamedTuple):
    """What a group has stored of a partition."""

    #: None: nothing yet.
    offset: int | None
    #: Offsets beyond it that are done.
    done: frozenset[int]
    #: Offsets that were handed to a consumer and are not done.
    begun: frozenset[int]


class Assigned(NamedTuple):
    """A member of a group, with its partitions."""

    client_id: str
    host: str
    places: frozenset[Place]


def layout(admin: Admin) -> dict[str, tuple[int, int]]:
    """Of every topic: how many partitions, and how many replicas each."""
    found = admin.ask(admin.list)
    return {
        name: (len(topic.partitions), len(topic.partitions[0].replicas))
        for name, topic in found.topics.items()
        if topic.error is None and topic.partitions
    }


def ranges(admin: Admin, places: Iterable[Place]) -> dict[Place, Range]:
    """The offsets that partitions hold, in two requests for all of them."""
    partitions = [TopicPartition(*place) for place in places]
    if not partitions:
        return {}
    what = ", ".join(sorted({tp.topic for tp in partitions}))

    def of(spec: OffsetSpec) -> dict[Place, int]:
        futures = admin.client.list_offsets(
            dict.fromkeys(partitions, spec), request_timeout=REQUEST_SECONDS
        )
        return {(tp.topic, tp.partition): f.result().offset for tp, f in futures.items()}

    low = admin.ask(lambda: of(OffsetSpec.earliest()), topic=what)  # type: ignore[no-untyped-call]
    high = admin.ask(lambda: of(OffsetSpec.latest()), topic=what)  # type: ignore[no-untyped-call]
    return {place: Range(low[place], high[place]) for place in low}


def committed(topics: Topics, group_id: str, places: Iterable[Place]) -> dict[Place, Committed]:
    """What the group has stored of these partitions."""
    stored = topics.stored(group_id, places)
    return {(tp.topic, tp.partition): _read(tp) for tp in stored}


def delete_before(admin: Admin, offsets: Mapping[Place, int]) -> None:
    """Deletes the records of these partitions that stand before the offset."""
    if offsets:
        places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        futures = admin.client.delete_records(places, request_timeout=REQUEST_SECONDS)
        for tp, future in futures.items():
            admin.ask(future.result, operation="DELETE", topic=tp.topic)


def _read(stored: TopicPartition) -> Committed:
    if stored.offset < 0:
        return Committed(None, frozenset(), frozenset())
    done, begun = decode_metadata(stored.offset, stored.metadata or "")
    return Committed(stored.offset, frozenset(done), frozenset(begun))


def assigned(admin: Admin, group_id: str) -> list[Assigned]:
    """The members of a group; none if there is no such group."""

    def request() -> list[MemberDescription]:
        futures = admin.client.describe_consumer_groups([group_id], request_timeout=REQUEST_SECONDS)
        try:
            return list(futures[group_id].result().members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            raise

    return [
        Assigned(
            member.client_id,
            member.host.lstrip("/"),
            frozenset((tp.topic, tp.partition) for tp in member.assignment.topic_partitions),
        )
        for member in admin.ask(request, group=group_id)
    ]


def retention(admin: Admin, names: Sequence[str]) -> dict[str, int]:
    """Milliseconds that each topic keeps records, -1 for ever; what may not be asked is left out."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    found: dict[str, int] = {}
    futures = admin.client.describe_configs(resources, request_timeout=REQUEST_SECONDS)
    for resource, future in futures.items():
        with suppress(NotAuthorized):
            entries = admin.ask(future.result, topic=resource.name)
            found[resource.name] = int(entries["retention.ms"].value)
    return found
