"""Keeps tokens and anonymous channel names out of a server's log lines.

Browsers cannot set headers on a WebSocket, so both stand in the URL, and uvicorn logs URLs. An
anonymous channel's name is a secret as well: whoever knows it can listen.
"""

import logging
import re
from typing import Any

_SECRETS = re.compile(
    # A quote in front: of a query string that stands alone, as in an ASGI scope that uvicorn logs
    # at its trace level, or of JSON, as in the frames that it logs there.
    r"""(?P<name>[?&'"](?:token|channel)(?:=|":\s?"))[^&\s"']+"""
    # A JWT anywhere else: two dotted base64url parts, the first an encoded `{"`.
    r"|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
)
_LOGGERS = ("uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def redact(text: str) -> str:
    """`text` with every token and channel name in it replaced."""
    return _SECRETS.sub(lambda found: f"{found['name'] or ''}[hidden]", text)


class RedactSecrets(logging.Filter):
    """Redacts a record's message and arguments; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redacts in place; the arguments keep their number, which formatters rely on."""
        record.msg = _redacted(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_redacted(one) for one in record.args)
        elif record.args:
            record.args = {name: _redacted(one) for name, one in record.args.items()}
        return True


def redact_server_logs() -> None:
    """Adds the filter to uvicorn's loggers, once; other servers' logs are not covered."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RedactSecrets) for one in logger.filters):
            logger.addFilter(RedactSecrets())


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    # Such as a whole scope at uvicorn's trace level. What holds no secret keeps its type, since
    # the format may ask for it (%d).
    text = str(value)
    redacted = redact(text)
    return value if redacted == text else redacted
