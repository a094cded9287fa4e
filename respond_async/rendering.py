"""The result envelope: an answer as JSON."""

import binascii
import json
import zlib
from email.message import Message
from typing import Any, Final

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
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


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
    head: dict[str, Any] = {
        "task_id": task_id,
        "status": answer.status,
        "endpoint": endpoint,
        "headers": shown_headers(answer.headers),
    }
    response, encoding = _response(answer)
    if encoding is not None:
        head["encoding"] = encoding
    return json.dumps(head).encode()[:-1] + b', "response": ' + response + b"}"


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


def _response(answer: Answer) -> tuple[bytes, str | None]:
    kind = Message()
    kind["content-type"] = answer.header("content-type")
    # `get_content_type` answers text/plain where there is no header.
    media = kind.get_content_type() if kind["content-type"] else ""
    body = _without_coding(answer)
    if body is None:
        return _base64(answer.body)
    if not body and not media.startswith("text/"):
        return b"null", None
    if media == "application/json" or media.endswith("+json"):
        if _is_json(body):
            return body, None
    elif not (media.startswith("text/") or media.endswith("+xml") or media in _TEXT_TYPES):
        return _base64(body)
    try:
        charset = str(kind.get_param("charset") or "utf-8")
        return json.dumps(body.decode(charset)).encode(), None
    except (UnicodeError, LookupError):
        return _base64(body)


def _without_coding(answer: Answer) -> bytes | None:
    """The body without its content coding; None if that is one we cannot take off."""
    coding = answer.header("content-encoding").strip().lower()
    if coding in ("", "identity"):
        return answer.body
    if coding not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        return zlib.decompress(answer.body, _GZIP_OR_ZLIB)
    except zlib.error:
        return None


def _is_json(body: bytes) -> bool:
    """Whether `body` can stand inside a JSON text as it is (RFC 8259: UTF-8, no NaN)."""
    try:
        json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _base64(body: bytes) -> tuple[bytes, str]:
    return b'"' + binascii.b2a_base64(body, newline=False) + b'"', "base64"
