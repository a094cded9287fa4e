"""Which web pages may open a socket: pure.

Browsers do not hold WebSockets to the same-origin policy, but send `Origin` (RFC 6455 10.2).
"""

from collections.abc import Sequence
from urllib.parse import urlsplit


def origin_allowed(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a handshake from `origin` may go on.

    Args:
        origin: The Origin header; None means that no browser asks, and passes.
        host: The Host header: a page from the same host and port always passes.
        allowed: Further origins (`https://shop.example`); `*` lets every page pass.
    """
    if origin is None or "*" in allowed:
        return True
    asked = origin.lower()
    if asked in {one.lower().rstrip("/") for one in allowed}:
        return True
    try:
        place = urlsplit(asked).netloc
    except ValueError:
        return False
    # `Origin: null` (sandboxed frames, files) has no netloc, so it never equals a host.
    return bool(place) and host is not None and place == host.lower()
