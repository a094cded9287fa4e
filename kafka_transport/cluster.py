"""What all connections of one process to one cluster share: its producer, topics and bindings."""

import os
from typing import TYPE_CHECKING, Any, Final

from kafka_transport.config import Options
from kafka_transport.native import Lock
from kafka_transport.publisher import Publisher
from kafka_transport.retention import Retention
from kafka_transport.shared_bindings import SharedBindings
from kafka_transport.topics import Topics

if TYPE_CHECKING:
    from kafka_transport.arguments import QueueArguments

__all__ = ["Cluster", "cluster_for"]


class Cluster:
    """Made on first use, lives as long as the process."""

    def __init__(self, properties: dict[str, Any], options: Options) -> None:
        self.properties: Final = properties
        self.topics: Final = Topics(properties, options)
        self.publisher: Final = Publisher(
            properties, options, self.topics.size_limit, self.topics.forget
        )
        self.bindings: Final = SharedBindings(properties, options, self.topics, self.publisher)
        self.retention: Final = Retention(self.topics, options.keep_done)
        #: What queues were declared with, by topic.
        self.arguments: Final[dict[str, QueueArguments]] = {}
        #: The highest lane of queues, by topic.
        self.lanes: Final[dict[str, int]] = {}


_lock = Lock()
_clusters: dict[str, Cluster] = {}


def _in_child() -> None:
    # A fork must never use its parent's clients; the lock may have been held at that moment.
    global _lock  # noqa: PLW0603
    _lock = Lock()
    _clusters.clear()


os.register_at_fork(after_in_child=_in_child)


def cluster_for(properties: dict[str, Any], options: Options) -> Cluster:
    """The process's one `Cluster` for these properties and options."""
    key = repr((sorted(properties.items(), key=str), options))
    with _lock:
        cluster = _clusters.get(key)
        if cluster is None:
            cluster = _clusters[key] = Cluster(properties, options)
        return cluster
