"""Headers that belong to one connection and are not passed on (RFC 9110 7.6.1)."""

from collections.abc import Iterable
from typing import Final

Headers = Iterable[tuple[bytes, bytes]]

#: RFC 9110 7.6.1, RFC 2616 13.5.1 and what servers and clients send all the same.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What a `Connection` header cannot take away: it would change what is asked, and of whom.
_KEPT: Final = frozenset({b"authorization", b"content-length", b"content-type", b"cookie", b"host"})


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers without those of one connection and those that its `Connection` header names.

    Args:
        headers: In order; names in any case.
    """
    given = list(headers)
    named = {
        name.strip().lower()
        for header, value in given
        if header.lower() == b"connection"
        for name in value.split(b",")
    }
    dropped = HOP_BY_HOP | (named - _KEPT)
    return [(name, value) for name, value in given if name.lower() not in dropped]
