"""A message that is published again and again with a few of its words changed."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from kafka_transport.loop_reports import LoopReports
from kafka_transport.publisher import Outgoing
from kafka_transport.wire import PreparedMessage, RecordHeaders, encode

if TYPE_CHECKING:
    from kafka_transport.channel import Channel
    from kafka_transport.transport import Transport

__all__ = ["Template"]

_word: Final = json.encoder.encode_basestring_ascii
_LONG: Final = 100
#: What stands in a JSON string as it is (RFC 8259 7), of ASCII.
_PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))


class Template:
    """Made by `Channel.template`: JSON, due at once. One event loop at a time may use it.

    Encoding two JSON objects, and all that kombu and Celery do to come to the same ones, is most of
    what a message costs. Here it is done once.
    """

    def __init__(
        self,
        channel: "Channel",
        transport: "Callable[[], Transport]",
        message: PreparedMessage,
        words: tuple[str, ...],
        *,
        exchange: str = "",
        routing_key: str = "",
        confirm_timeout: float | None = None,
    ) -> None:
        self._channel: Final = channel
        self._transport: Final = transport
        self._exchange: Final = exchange
        self._routing_key: Final = routing_key
        self._timeout: Final = confirm_timeout
        self._priority: Final = int(message["properties"].get("priority") or 0)
        value, _, headers = encode(message, exchange, routing_key)
        texts = {name: str(text) for name, text in headers if name in {"headers", "properties"}}
        self._message: Final = message
        self._value: Final = _Text(value.decode(), words)
        self._headers: Final = _Text(texts["headers"], words)
        self._properties: Final = _Text(texts["properties"], words)
        self._same: Final = [(name, text) for name, text in headers if name not in texts]
        self._reports: LoopReports | None = None

    def publish(
        self, words: Mapping[str, str], partition_key: str | None = None
    ) -> "asyncio.Future[None]":
        """Sends the message; the future ends when the broker has it, or with why it has not.

        Args:
            words: What stands for each of the template's words.
            partition_key: What the message has as its property of that name.

        Raises:
            KafkaTransportError: The message cannot even be sent.
        """
        transport = self._transport()
        loop = asyncio.get_running_loop()
        escaped = {word: _escaped(given) for word, given in words.items()}
        value, properties = self._value.filled(escaped), self._properties.filled(escaped)
        if partition_key is not None:
            properties = f'{properties[:-1]}, "partition_key": {_word(partition_key)}}}'
        headers = self._headers.filled(escaped)
        routes = transport.routes.of(self._exchange, self._routing_key)
        if len(routes) != 1 or not routes[0].durable:
            filled: PreparedMessage = {
                **self._message,
                "body": value,
                "headers": json.loads(headers),
                "properties": json.loads(properties),
            }
            return asyncio.wrap_future(
                self._channel.confirmed_publish(filled, self._exchange, self._routing_key)
            )
        reports = self._reports
        if reports is None or reports.loop is not loop:
            reports = self._reports = LoopReports(transport.cluster.publisher, loop, self._timeout)
        same: RecordHeaders = [*self._same, ("headers", headers), ("properties", properties)]
        to = transport.durable.destination(routes[0].topic, None, self._priority)
        key = None if partition_key is None else partition_key.encode()
        return reports.send(Outgoing(to, value.encode(), same, key))


def _escaped(text: str) -> str:
    """As it stands between the quotes of JSON."""
    # The encoder looks at each character twice, and what is long is mostly base64.
    if len(text) > _LONG and text.isascii() and not text.encode().translate(None, _PLAIN):
        return text
    return _word(text)[1:-1]


class _Text:
    """A text with words in it that are replaced; what replaces one is not looked through again."""

    def __init__(self, text: str, words: tuple[str, ...]) -> None:
        self._pieces: Final = re.split(f"({'|'.join(map(re.escape, words))})", text)

    def filled(self, words: Mapping[str, str]) -> str:
        pieces = self._pieces.copy()
        for place in range(1, len(pieces), 2):
            pieces[place] = words[pieces[place]]
        return "".join(pieces)
