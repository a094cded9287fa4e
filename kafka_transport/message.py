"""A message as kombu's consumers see it."""

from typing import Any, Final

from kombu.serialization import registry  # type: ignore[attr-defined]
from kombu.transport import base
from kombu.utils.json import loads

from kafka_transport.wire import read_json

__all__ = ["Message"]

_JSON: Final = "application/json"
# What kombu writes for types that JSON does not have.
_MARK: Final = b'"__type__"'


class Message(base.Message):
    """kombu's, but for how plain JSON is read.

    kombu calls a function for each object in the JSON, to look for its mark, and makes a decoder
    each time: ten times as long as reading a body that has no mark in it.
    """

    __slots__ = ()

    def _decode(self) -> Any:
        # As kombu's own decoders are found: a project may have registered another one for JSON.
        decoder = registry._decoders.get(_JSON)  # noqa: SLF001
        body: Any = self.body
        if (
            self.content_type == _JSON
            and self.content_encoding == "utf-8"
            and (self.accept is None or _JSON in self.accept)
            and decoder is loads
            and isinstance(body, bytes)
            and _MARK not in body
        ):
            try:
                return read_json(body.decode())
            except ValueError:
                # kombu raises what Celery takes for a message that cannot be read.
                pass
        return super()._decode()
