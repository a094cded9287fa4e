"""The result envelope: an answer as JSON."""

import binascii
import codecs
import contextlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final, Literal

import msgspec

from respond_async.answer import Answer

MEDIA_TYPE: Final = "application/json"

_TEXT_TYPES: Final = frozenset(
    {
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/jsonl",
        "application/ndjson",
        "application/sql",
        "application/toml",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    }
)
GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
#: What is larger without its content coding is shown with it, in base64.
MOST_BYTES: Final = 128 * 1024 * 1024


def render(task_id: str, endpoint: str, answer: Answer) -> bytes:
    """The JSON text `{task_id, status, endpoint, headers, response}`.

    `response` is the answer's own JSON text, character for character; a string if it is text; else
    base64, and then `"encoding": "base64"` stands beside it. A gzip or deflate coding is taken off
    first, as HTTP clients do; the headers are shown as they were.

    Args:
        task_id: The task.
        endpoint: Path and query as requested.
        answer: What the endpoint answered.
    """
    response, encoding = _response(answer)
    return beginning(task_id, endpoint, answer, encoding) + response + b"}"


def beginning(task_id: str, endpoint: str, answer: Answer, encoding: str | None) -> bytes:
    """The envelope's text up to the value of `response`."""
    head: dict[str, Any] = {
        "task_id": task_id,
        "status": answer.status,
        "endpoint": endpoint,
        "headers": shown_headers(answer.headers),
    }
    if encoding is not None:
        head["encoding"] = encoding
    return json.dumps(head).encode()[:-1] + b', "response": '


@dataclass(frozen=True, slots=True)
class Kind:
    """What an answer's body is by its headers."""

    shape: Literal["json", "text", "binary"]
    #: The name of the text's character encoding, as the answer says it; perhaps there is none such.
    charset: str
    #: The content coding to take off, none where it is "".
    coding: Literal["", "gzip or deflate"]

    @classmethod
    def of(cls, answer: Answer) -> "Kind":
        """Judges by `Content-Type` and `Content-Encoding`."""
        content = Message()
        content["content-type"] = answer.header("content-type")
        # `get_content_type` answers text/plain where there is no header.
        media = content.get_content_type() if content["content-type"] else ""
        charset = str(content.get_param("charset") or "utf-8")
        coding = answer.header("content-encoding").strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            return cls("binary", charset, "")
        taken_off: Literal["", "gzip or deflate"] = (
            "" if coding in ("", "identity") else "gzip or deflate"
        )
        if media == "application/json" or media.endswith("+json"):
            return cls("json", charset, taken_off)
        if media.startswith("text/") or media.endswith("+xml") or media in _TEXT_TYPES:
            return cls("text", charset, taken_off)
        return cls("binary", charset, "")


def shown_headers(headers: tuple[tuple[str, str], ...]) -> dict[str, str | list[str]]:
    """Headers as an object, names in lower case; a repeated one has a list of its values."""
    shown: dict[str, str | list[str]] = {}
    for given, value in headers:
        name = given.lower()
        before = shown.get(name)
        if before is None:
            shown[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            shown[name] = [before, value]
    return shown


def is_json(body: bytes | bytearray) -> bool:
    """Whether `body` can stand inside a JSON text as it is (RFC 8259: UTF-8, no NaN)."""
    try:
        # Checks without building objects; strings are not checked for UTF-8.
        msgspec.json.decode(body, type=msgspec.Raw)
        codecs.utf_8_decode(body, "strict", True)  # noqa: FBT003 - positional in C
    except (ValueError, RecursionError):
        return False
    return True


def decoded_text(pieces: Iterable[bytes], charset: str) -> Iterator[str]:
    """The text, piece by piece.

    Raises:
        LookupError: There is no such character encoding.
        UnicodeError: It is not in that encoding.
    """
    # `getincrementaldecoder` knows codecs too that are none of text, such as hex; this does not.
    with contextlib.suppress(UnicodeError):
        b"x".decode(charset)
    decoder = codecs.getincrementaldecoder(charset)()
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _response(answer: Answer) -> tuple[bytes, str | None]:
    kind = Kind.of(answer)
    body = answer.body
    if kind.coding:
        decoded = _decompressed(body)
        if decoded is None:
            return _base64(body)
        body = decoded
    if not body and not answer.header("content-type").startswith("text/"):
        return b"null", None
    if kind.shape == "binary":
        return _base64(body)
    if kind.shape == "json" and is_json(body):
        return body, None
    try:
        return json.dumps("".join(decoded_text([body], kind.charset))).encode(), None
    except (UnicodeError, LookupError):
        return _base64(answer.body)


def _decompressed(body: bytes) -> bytes | None:
    """Without gzip or deflate; None if that is not what it is, or if it is too large."""
    inflating = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        plain = inflating.decompress(body, MOST_BYTES)
    except zlib.error:
        return None
    return plain if inflating.eof else None


def _base64(body: bytes) -> tuple[bytes, str]:
    return b'"' + binascii.b2a_base64(body, newline=False) + b'"', "base64"
