"""What a commit says besides its offset: the state of the messages beyond it.

Text, since Kafka's is a string: ``k2:`` and base64 of a deflated run of varints and bytes: the length
of a bitmap, the bitmap of the offsets that are done, then (distance, count) for each message that
was handed to a consumer and is not done.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["METADATA_BYTES", "decode_metadata", "encode_metadata"]

_FORMAT: Final = "k2:"

#: A broker's `offset.metadata.max.bytes` is 4,096 by default.
METADATA_BYTES: Final = 4096


def encode_metadata(position: int, done: set[int], begun: Mapping[int, int]) -> str:
    """The state beyond `position` as text of at most 4,096 characters.

    Where it would be longer the counts of deliveries go first, which makes a redelivery look like
    a first delivery; then the newest half of what is done, which runs again after a crash. Only
    thousands of messages in flight, or wide gaps between offsets, come so far.
    """
    begun = {offset: count for offset, count in begun.items() if offset >= position}
    if not done and not begun:
        return ""
    bitmap = bytearray((max(done) - position) // 8 + 1) if done else bytearray()
    for offset in done:
        bitmap[(offset - position) >> 3] |= 1 << ((offset - position) & 7)
    payload = bytearray(_varint(len(bitmap))) + bitmap
    last = position
    for offset in sorted(begun):
        payload += _varint(offset - last) + _varint(begun[offset])
        last = offset
    text = _FORMAT + base64.b64encode(zlib.compress(bytes(payload), 1)).decode()
    if len(text) <= METADATA_BYTES:
        return text
    if begun:
        return encode_metadata(position, done, {})
    return encode_metadata(position, set(sorted(done)[: len(done) // 2]), {})


def decode_metadata(position: int, metadata: str) -> tuple[set[int], dict[int, int]]:
    """Back from `encode_metadata`; what another program wrote there counts as nothing."""
    if not metadata.startswith(_FORMAT):
        return set(), {}
    try:
        payload = zlib.decompress(base64.b64decode(metadata[len(_FORMAT) :], validate=True))
        numbers = _Varints(payload)
        bitmap = numbers.bytes(next(numbers))
        begun: dict[int, int] = {}
        last = position
        for distance in numbers:
            last += distance
            begun[last] = next(numbers)
    except (binascii.Error, zlib.error, ValueError, StopIteration, RuntimeError):
        return set(), {}
    done = {
        position + 8 * index + bit
        for index, byte in enumerate(bitmap)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    }
    return done, begun


def _varint(number: int) -> bytes:
    """LEB128, as protobuf has it."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Varints(Iterator[int]):
    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    def __next__(self) -> int:
        number = shift = 0
        while self._at < len(self._payload):
            byte = self._payload[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return number
            shift += 7
        raise StopIteration

    def bytes(self, length: int) -> bytes:
        if length > len(self._payload) - self._at:
            raise ValueError("the bitmap is cut off")
        self._at += length
        return self._payload[self._at - length : self._at]
