"""What a running cluster holds of a project, and what can be done about its dead letters.

For commands, monitors and metrics; ``celery -A project kafka`` is made of it. Functions read and
change nothing; `DeadLetters` is the only one that writes::

    with app.connection_for_read() as connection:
        cluster = connection.connection.cluster
        lag(cluster, connection.connection.durable, ["celery"])
"""

from kafka_transport.operations.dead_letters import DeadLetter, DeadLetters, Outcome
from kafka_transport.operations.diagnosis import Finding, diagnose
from kafka_transport.operations.survey import (
    Member,
    PartitionOffsets,
    QueueLag,
    TopicInfo,
    lag,
    offsets,
    queues,
    topics,
)

__all__ = [
    "DeadLetter",
    "DeadLetters",
    "Finding",
    "Member",
    "Outcome",
    "PartitionOffsets",
    "QueueLag",
    "TopicInfo",
    "diagnose",
    "lag",
    "offsets",
    "queues",
    "topics",
]
