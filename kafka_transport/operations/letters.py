"""One record of a dead letter topic, read: a letter, or the mark that letters are handled."""

from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import Message as Record

from kafka_transport.wire import Envelope, RecordHeaders, decode

__all__ = ["HANDLED", "DeadLetter", "handled_in", "read_letter"]

#: The header of a mark: the offsets of its partition that are handled, comma-separated.
HANDLED: Final = "dead-handled"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody could handle."""

    partition: int
    offset: int
    #: The task's id, if it is a task.
    id: str | None
    task: str | None
    reason: str
    #: Topic, partition and offset that it was taken from.
    died_in: str
    #: When it was given up: ISO 8601.
    at: str
    #: How often it was delivered; None where the record does not say.
    deliveries: int | None
    body: bytes
    #: None: the record is no message.
    envelope: Envelope | None

    @property
    def place(self) -> str:
        """``partition:offset``, which names one letter, as a task's id may not."""
        return f"{self.partition}:{self.offset}"

    def shown(self, *, body: bool = False) -> dict[str, Any]:
        """What may be shown; the body holds the task's arguments, so only where it is wanted."""
        fields = {
            "place": self.place,
            "id": self.id,
            "task": self.task,
            "reason": self.reason,
            "from": self.died_in,
            "at": self.at,
            "deliveries": self.deliveries,
        }
        return fields | ({"body": self.body.decode(errors="replace")} if body else {})


def read_letter(record: Record) -> DeadLetter:
    """Reads any record; what it lacks is None or empty."""
    texts = _texts(record)
    try:
        envelope = decode(record)
    except ValueError:
        envelope = None
    headers = {} if envelope is None else envelope.headers
    counted = texts.get("dead-deliveries", "")
    if not counted and envelope is not None:
        counted = str(envelope.properties.get("delivery_count", ""))
    return DeadLetter(
        partition=record.partition() or 0,
        offset=record.offset() or 0,
        id=_text(headers.get("id")),
        task=_text(headers.get("task")),
        reason=texts.get("dead-reason", ""),
        died_in=texts.get("dead-from", ""),
        at=texts.get("dead-at", ""),
        deliveries=int(counted) if counted.isdecimal() else None,
        body=record.value() or b"",
        envelope=envelope,
    )


def handled_in(record: Record) -> set[int]:
    """The offsets that a mark names; empty for a letter."""
    named = _texts(record).get(HANDLED, "")
    return {int(offset) for offset in named.split(",") if offset.isdecimal()}


def _texts(record: Record) -> dict[str, str]:
    return {
        str(name): value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for name, value in cast("RecordHeaders", record.headers() or [])
        if value is not None
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
