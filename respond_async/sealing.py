"""Encryption of what leaves the process: requests, bodies, records and answers.

Queue and Redis hold no readable token, cookie or body. Keys are derived from SECRET_KEY, one for
each purpose, so that a text sealed for one purpose cannot be passed off as another.
"""

import base64
import binascii
import logging
from functools import cache
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from respond_async.errors import EnvelopeError
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

_ENCRYPTED: Final = "fernet:"
_PLAIN: Final = "plain:"


class Sealer:
    """Seals bytes into text and opens them again.

    Without a SECRET_KEY the text is readable base64, and whoever can write to the queue is
    believed; with one, nothing that was not sealed with it is opened.

    Args:
        settings: Their `secret_key`: the first seals, all open, so keys can be rotated.
        purpose: What is sealed; another purpose cannot open it.
    """

    def __init__(self, settings: Settings, purpose: str) -> None:
        keys = [Fernet(base64.urlsafe_b64encode(key)) for key in derived_keys(settings, purpose)]
        self._fernet = MultiFernet(keys) if keys else None
        self._purpose = purpose

    @property
    def encrypts(self) -> bool:
        """Whether there is a SECRET_KEY."""
        return self._fernet is not None

    def seal(self, data: bytes) -> str:
        """ASCII text that holds `data`."""
        if self._fernet is None:
            return _PLAIN + base64.b64encode(data).decode()
        return _ENCRYPTED + self._fernet.encrypt(data).decode()

    def open(self, sealed: object) -> bytes:
        """What was sealed.

        Raises:
            EnvelopeError: It was not sealed for this purpose with one of our keys.
        """
        if not isinstance(sealed, str):
            raise EnvelopeError(f"the {self._purpose} is not a text")
        if self._fernet is None:
            return self._open_plain(sealed)
        # Plain text is not taken once there is a key: whoever reaches the queue could write it.
        if not sealed.startswith(_ENCRYPTED):
            raise EnvelopeError(f"the {self._purpose} is not encrypted, and SECRET_KEY is set here")
        try:
            return self._fernet.decrypt(sealed.removeprefix(_ENCRYPTED).encode())
        except (InvalidToken, UnicodeEncodeError):
            raise EnvelopeError(
                f"the {self._purpose} was not sealed with this SECRET_KEY, or it is damaged"
            ) from None

    def _open_plain(self, sealed: str) -> bytes:
        if sealed.startswith(_ENCRYPTED):
            raise EnvelopeError(f"the {self._purpose} is encrypted: set the SECRET_KEY of the app")
        if not sealed.startswith(_PLAIN):
            raise EnvelopeError(f"the {self._purpose} is not one of respond_async")
        try:
            return base64.b64decode(sealed.removeprefix(_PLAIN), validate=True)
        except (binascii.Error, ValueError):
            raise EnvelopeError(f"the {self._purpose} is damaged") from None


@cache
def warn_of_missing_key() -> None:
    """Says once a process that there is no SECRET_KEY."""
    logger.warning(
        "SECRET_KEY is not set: requests and answers stand readable in the queue and in Redis, "
        "requests with Authorization or Cookie are refused"
    )


def derived_keys(settings: Settings, purpose: str) -> list[bytes]:
    """32 bytes for each SECRET_KEY, the first one's first; bound to the purpose."""
    secrets = [secret.get_secret_value().encode() for secret in settings.secret_key]
    return [derived_key(secret, purpose) for secret in secrets]


def derived_key(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes out of a secret."""
    # RFC 5869 3.2: `info` binds the key to its use.
    info = f"respond_async/{purpose}/1".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
