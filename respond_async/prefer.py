"""`Prefer: respond-async, wait=N` (RFC 7240): the second way to ask asynchronously.

A preference is never an error: what cannot be understood is ignored, as section 2 there asks.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from respond_async.scope import ASYNC_HEADER, asks_for_async

_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE: Final = re.compile(
    rf"[ \t]*(?P<name>{_NAME})(?:[ \t]*=[ \t]*(?P<value>{_NAME}|{_QUOTED})?)?[ \t]*(?:;|$)",
    re.ASCII,
)
# More than all of RFC 7240's preferences together.
_LONGEST_TEXT: Final = 4096
# More than any wait that a setting allows.
_LONGEST_NUMBER: Final = 9
_ASYNC_HEADER: Final = ASYNC_HEADER.encode()


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a request prefers, of what is known here."""

    #: RFC 7240 4.1
    respond_async: bool = False
    #: RFC 7240 4.3, in seconds; None: not said.
    wait_seconds: int | None = None

    def applied(self, *, asynchronously: bool) -> str:
        """The value of `Preference-Applied` (RFC 7240 3)."""
        wait = [] if self.wait_seconds is None else [f"wait={self.wait_seconds}"]
        return ", ".join(["respond-async", *wait] if asynchronously or not wait else wait)


_NONE: Final = Preferences()


def parse_prefer(values: Iterable[str]) -> Preferences:
    """The preferences in the values of a request's `Prefer` headers, in order."""
    text = ",".join(values)
    if not text:
        return _NONE
    found: dict[str, str] = {}
    for member in _members(text) if len(text) <= _LONGEST_TEXT else ():
        match = _PREFERENCE.match(member)
        if match is not None:
            # "If any preference is specified more than once, only the first instance counts."
            found.setdefault(match["name"].lower(), _unquoted(match["value"] or ""))
    wait = found.get("wait", "")
    number = wait.isascii() and wait.isdigit() and len(wait) <= _LONGEST_NUMBER
    # An empty value is the same as none.
    return Preferences(found.get("respond-async") == "", int(wait) if number else None)


def wants_async(headers: Iterable[tuple[bytes, bytes]], *, prefer: bool = True) -> bool:
    """Whether a request asks to be answered asynchronously.

    `X-Async-Request: false` wins over a preference.

    Args:
        headers: The ASGI scope's.
        prefer: Whether `Prefer: respond-async` asks for it too.
    """
    asked: list[str] = []
    preferences: list[str] = []
    for name, value in headers:
        if name == _ASYNC_HEADER:
            asked.append(value.decode("latin-1"))
        elif name == b"prefer":
            preferences.append(value.decode("latin-1"))
    if asked:
        return any(map(asks_for_async, asked))
    return prefer and bool(preferences) and parse_prefer(preferences).respond_async


def _members(text: str) -> Iterator[str]:
    """What stands between commas; inside of quotes a comma separates nothing."""
    begin, quoted, escaped = 0, False, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = quoted
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
