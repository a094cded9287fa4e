"""Deleting what is done from topics that keep messages for ever.

A broker's default (`retention.ms`, 7 days) drops messages by age, done or not. Queues are made
without such an end, and workers delete what is both done (below the group's committed offset) and
older than `keep_done`: never earlier than the broker's default would, and never what is not done.
"""

import logging
import random
import threading
import time
from typing import Final

from confluent_kafka import KafkaException

from kafka_transport.errors import BrokerUnavailable, KafkaTransportError
from kafka_transport.native import Lock, Thread
from kafka_transport.topics import Topics

__all__ = ["Retention"]

logger = logging.getLogger(__name__)

#: Seconds between two rounds of one process; three requests a topic and round.
ROUND_SECONDS: Final = 600.0


class Retention:
    """Looks after the topics that this process consumes, in a thread of its own."""

    def __init__(self, topics: Topics, keep_done: float | None) -> None:
        self._topics: Final = topics
        self._keep_done: Final = keep_done
        self._lock: Final = Lock()
        self._groups: Final[dict[str, str]] = {}
        self._given_up: Final[set[str]] = set()
        self._thread: Thread | None = None

    def watch(self, topic: str, group_id: str) -> None:
        """From here on `topic` is cleaned of what `group_id` has done."""
        if self._keep_done is None:
            return
        with self._lock:
            self._groups[topic] = group_id
            if self._thread is None:
                self._thread = Thread(target=self._run, name="kafka-retention")
                self._thread.start()

    def _run(self) -> None:
        # Workers that were started together take turns.
        pause = threading.Event()
        while not pause.wait(ROUND_SECONDS * random.uniform(0.5, 1.0)):  # noqa: S311
            self.clean(time.time())

    def clean(self, now: float) -> None:
        """One round. A topic that may not be cleaned is named once and left alone."""
        with self._lock:
            groups = {t: g for t, g in self._groups.items() if t not in self._given_up}
        for topic, group_id in groups.items():
            try:
                if self._topics.keeps_for_ever(topic):
                    self._topics.delete_done(topic, group_id, now - (self._keep_done or 0.0))
                else:
                    self._given_up.add(topic)
                    logger.warning(
                        "topic %s has an end of retention: its broker drops messages of that age "
                        "even if they are not done; set retention.ms=-1 on it to keep them", topic,
                    )  # fmt: skip
            except BrokerUnavailable:
                # The next round finds it.
                continue
            except (KafkaTransportError, KafkaException) as error:
                self._given_up.add(topic)
                logger.warning(
                    "what is done stays in topic %s (give the ACLs, or set keep_done=None): %s",
                    topic, error,
                )  # fmt: skip
