"""The embedded Kafka: librdkafka's mock cluster, which listens on a real port of the loopback.

Run as a script, in a process of its own: `python -P mock_kafka.py FILE`. The port is chosen by
librdkafka, so the address is written to FILE once the broker answers.
"""

import os
import signal
import sys
from pathlib import Path

from confluent_kafka import Producer

__all__ = ["main"]

ANSWER_SECONDS = 10.0


def main(arguments: list[str]) -> None:
    """Serves until SIGTERM.

    Args:
        arguments: The file to write `host:port` to.
    """
    # Blocked, not handled: librdkafka's threads inherit the mask, and sigwait gets the signal.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    # log_level: its one line at the start says only that this is a test feature.
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    broker = next(iter(owner.list_topics(timeout=ANSWER_SECONDS).brokers.values()))
    address = f"{broker.host}:{broker.port}"
    target = Path(arguments[0])
    written = target.with_suffix(".part")
    written.write_text(address)
    # Renamed, so that a reader sees the whole address or nothing.
    written.replace(target)
    print(f"embedded Kafka (librdkafka's mock cluster) on {address}", flush=True)  # noqa: T201 - the process' log
    signal.sigwait(ends)
    # Its memory goes with the process; closing clients one by one would only take longer.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
