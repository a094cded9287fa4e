"""Asking the cluster: whether it is there, whether it knows us, and what a refusal means."""

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from kafka_transport.clients import AdminClient
from kafka_transport.config import for_producer
from kafka_transport.errors import (
    BrokerUnavailable,
    LoginRefused,
    no_answer,
    not_authorized,
    passes,
    unavailable,
)
from kafka_transport.looks import FIRST_LOOK_SECONDS, looks
from kafka_transport.native import off_hub

__all__ = ["REQUEST_SECONDS", "Admin"]

#: Seconds that any one request to the cluster may take.
REQUEST_SECONDS: Final = 10.0

T = TypeVar("T")


class Admin:
    """One admin client. Every method may be called from any thread."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._servers: Final[str] = properties["bootstrap.servers"]
        self._login: Final = " with ".join(
            str(properties[name])
            for name in ("sasl.username", "sasl.mechanism")
            if name in properties
        )
        # What librdkafka says of its own accord, while a request says only that it timed out.
        self._trouble = ""
        self._refusal = ""
        self.client: Final = AdminClient(for_producer(properties) | {"error_cb": self._on_error})
        # librdkafka's mock cluster has no controller, and so makes and describes no topic.
        self._controlled: bool | None = None

    def _on_error(self, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._AUTHENTICATION:  # noqa: SLF001
            self._refusal = error.str()
        elif code != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._trouble = error.str()

    def check(self, timeout: float) -> None:
        """Asks the cluster for a sign of life.

        Raises:
            BrokerUnavailable: None came within `timeout` seconds.
            LoginRefused: The broker refused the user.
        """
        self._trouble = self._refusal = ""
        attempts = looks(timeout)
        while True:
            # Serves the callbacks: errors, and the token of OAUTHBEARER.
            self.client.poll(0)
            if self._refusal:
                raise LoginRefused(
                    f"Kafka at {self._servers} refused the login of {self._login}: {self._refusal}"
                )
            seconds, last = next(attempts)
            try:
                cluster = self.list(seconds)
            except KafkaException as error:
                # At once, as other brokers' clients do: kombu, which is to try the next URL of a list,
                # may have no more time than one `connect_timeout` for all of them.
                if last or _all_refuse(self._servers):
                    self.client.poll(0)
                    raise BrokerUnavailable(
                        f"no Kafka answered at {self._servers} within {timeout:g} s: "
                        f"{no_answer(self._trouble, error.args[0])}"
                    ) from error
            else:
                self._controlled = cluster.controller_id in cluster.brokers
                return

    def list(self, timeout: float = REQUEST_SECONDS) -> Any:
        """The cluster's brokers, and the topics that this user may see."""
        return off_hub(partial(self.client.list_topics, timeout=timeout))

    def has_controller(self) -> bool:
        """Whether it can make and describe topics; librdkafka's mock cluster cannot."""
        if self._controlled is None:
            cluster = self.ask(self.list)
            self._controlled = cluster.controller_id in cluster.brokers
        return self._controlled

    def ask(
        self,
        request: Callable[[], T],
        *,
        operation: str = "DESCRIBE",
        topic: str = "",
        group: str = "",
    ) -> T:
        """The answer of the cluster; a partition that was just made has no leader for a moment.

        `operation` is the ACL that the request needs on `topic` or `group`.
        """
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            # A token of OAUTHBEARER that has ended is renewed here.
            self.client.poll(0)
            try:
                return request()
            except KafkaException as error:
                denied = not_authorized(error.args[0], operation, topic=topic, group=group)
                if denied is not None:
                    raise denied from error
                if not passes(error.args[0]) or time.monotonic() > deadline:
                    raise unavailable(error.args[0]) from error
                time.sleep(0.02)


def _all_refuse(servers: str) -> bool:
    """Whether nothing listens at any of these addresses."""
    for server in servers.split(","):
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), FIRST_LOOK_SECONDS).close()
        except ConnectionRefusedError:
            continue
        except (OSError, ValueError):
            return False
        return False
    return True
