"""The result envelope of an answer that is kept in pieces, itself in pieces.

Text and base64 pass through with a piece of it in memory; JSON is held whole once, in the process
that renders it, since only a whole JSON text can be known to be one.
"""

import binascii
import json
import zlib
from collections.abc import Callable, Iterator

from respond_async.answer import Answer
from respond_async.rendering import GZIP_OR_ZLIB, MOST_BYTES, Kind, beginning, decoded_text, is_json

Pieces = Callable[[], Iterator[bytes]]

_PART_BYTES = 1024 * 1024


def render_large(task_id: str, endpoint: str, answer: Answer, pieces: Pieces) -> Iterator[bytes]:
    """The same text as `rendering.render` gives, part by part; blocks.

    Args:
        task_id: The task.
        endpoint: Path and query as requested.
        answer: What the endpoint answered.
        pieces: Reads the body from its beginning, each time it is called.

    Raises:
        BodyLostError: A piece is no longer there.
        StoreUnavailableError: The claim store did not answer.
    """
    kind = Kind.of(answer)

    def decoded() -> Iterator[bytes]:
        return _decompressed(pieces()) if kind.coding else pieces()

    if kind.shape == "json" and (body := _json(decoded())) is not None:
        yield beginning(task_id, endpoint, answer, None)
        view = memoryview(body)
        for start in range(0, len(view), _PART_BYTES):
            yield bytes(view[start : start + _PART_BYTES])
    elif kind.shape != "binary" and _is_text(decoded(), kind.charset):
        yield beginning(task_id, endpoint, answer, None) + b'"'
        for text in decoded_text(decoded(), kind.charset):
            yield json.dumps(text)[1:-1].encode()
        yield b'"'
    else:
        yield beginning(task_id, endpoint, answer, "base64") + b'"'
        yield from _base64(pieces())
        yield b'"'
    yield b"}"


def _json(pieces: Iterator[bytes]) -> bytearray | None:
    whole = bytearray()
    try:
        for piece in pieces:
            whole += piece
            if len(whole) > MOST_BYTES:
                return None
    except zlib.error:
        return None
    return whole if is_json(whole) else None


def _is_text(pieces: Iterator[bytes], charset: str) -> bool:
    try:
        size = sum(len(text) for text in decoded_text(pieces, charset))
    except (UnicodeError, LookupError, zlib.error):
        return False
    return size <= MOST_BYTES


def _decompressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflating = zlib.decompressobj(GZIP_OR_ZLIB)
    for coded in pieces:
        waiting = coded
        while waiting:
            yield inflating.decompress(waiting, _PART_BYTES)
            waiting = inflating.unconsumed_tail
    yield inflating.flush()
    if not inflating.eof:
        raise zlib.error("it ends too early")


def _base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        whole = rest + piece
        even = len(whole) - len(whole) % 3
        rest = whole[even:]
        yield binascii.b2a_base64(whole[:even], newline=False)
    yield binascii.b2a_base64(rest, newline=False)
