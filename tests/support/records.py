"""What is in Kafka, as anybody who may read there sees it."""

import secrets

from confluent_kafka import Consumer, Message, TopicPartition

from tests.support.waiting import wait_until


def records_of(kafka: str, queue: str) -> list[Message]:
    """Every record of a queue: its topic and those that are named after it."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": secrets.token_hex(4)})
    try:
        known = consumer.list_topics(timeout=10).topics
        topics = [name for name in known if name == queue or name.startswith(f"{queue}.")]
        places = [TopicPartition(t, p) for t in topics for p in known[t].partitions]
        ends = {(p.topic, p.partition): consumer.get_watermark_offsets(p)[1] for p in places}
        consumer.assign([TopicPartition(p.topic, p.partition, 0) for p in places])
        found: list[Message] = []

        def all_read() -> bool:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message)
            return len(found) >= sum(ends.values())

        wait_until(all_read, within=20, what="the records", every=0)
        return found
    finally:
        consumer.close()


def text_of(kafka: str, queue: str) -> bytes:
    """All that can be read of these records."""
    return b"".join(
        (record.value() or b"") + (record.key() or b"") + repr(record.headers()).encode()
        for record in records_of(kafka, queue)
    )
