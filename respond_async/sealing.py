"""Encryption of what leaves the process: requests, bodies, records and answers.

Queue and Redis hold no readable token, cookie or body. AES-256-GCM (NIST SP 800-38D): what was
changed, sealed by somebody else, for another purpose or in another context is not opened.

On the wire: `aes256gcm.<key id>.<base64 of salt, nonce, ciphertext and tag>`. The key of a text is
derived from SECRET_KEY, the purpose and the salt, which each process draws anew, so that no key
comes near the 2^32 random nonces that GCM bears (8.3 there).
"""

import base64
import binascii
import hmac
import logging
import os
from functools import cache, lru_cache
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from respond_async.errors import EnvelopeError
from respond_async.settings import Settings

logger = logging.getLogger(__name__)

_ENCRYPTED: Final = "aes256gcm."
_PLAIN: Final = "plain:"
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TEXTS_PER_SALT: Final = 2**24


class Sealer:
    """Seals bytes into text and opens them again; used from any thread.

    Without a SECRET_KEY the text is readable base64, and whoever can write to the queue is
    believed; with one, nothing that was not sealed with it is opened.

    Args:
        settings: Their `secret_key`: the first seals, all open, so keys can be rotated.
        purpose: What is sealed; another purpose cannot open it.
    """

    def __init__(self, settings: Settings, purpose: str) -> None:
        self._purpose = purpose
        secrets = [secret.get_secret_value().encode() for secret in settings.secret_key]
        self._secrets = {_key_id(secret): secret for secret in secrets}
        self._first = _key_id(secrets[0]) if secrets else None
        self._names = derived_keys(settings, f"{purpose}/name")
        self._current: tuple[bytes, AESGCM] | None = None
        self._left = 0

    @property
    def encrypts(self) -> bool:
        """Whether there is a SECRET_KEY."""
        return self._first is not None

    def seal(self, data: bytes, context: str = "") -> str:
        """ASCII text that holds `data`.

        Args:
            data: What nobody is to read.
            context: What it belongs to (a task's id): it opens for the same one alone.
        """
        if self._first is None:
            return _PLAIN + base64.b64encode(data).decode()
        current = self._current
        if current is None or self._left <= 0:
            salt = os.urandom(_SALT_BYTES)
            current = (salt, _cipher(self._secrets[self._first], self._purpose, salt))
            # In one assignment: other threads seal meanwhile.
            self._current, self._left = current, _TEXTS_PER_SALT
        # Threads may miscount a little; the limit is far from the real one.
        self._left -= 1
        salt, cipher = current
        nonce = os.urandom(_NONCE_BYTES)
        sealed = salt + nonce + cipher.encrypt(nonce, data, self._bound_to(context))
        return f"{_ENCRYPTED}{self._first}.{base64.b64encode(sealed).decode()}"

    def open(self, sealed: object, context: str = "") -> bytes:
        """What was sealed.

        Raises:
            EnvelopeError: It was not sealed for this purpose and context with one of our keys.
        """
        if not isinstance(sealed, str):
            raise EnvelopeError(f"the {self._purpose} is not a text")
        if self._first is None:
            return self._open_plain(sealed)
        # Plain text is not taken once there is a key: whoever reaches the queue could write it.
        if not sealed.startswith(_ENCRYPTED):
            raise EnvelopeError(f"the {self._purpose} is not encrypted, and SECRET_KEY is set here")
        key_id, _, text = sealed.removeprefix(_ENCRYPTED).partition(".")
        secret = self._secrets.get(key_id)
        if secret is None:
            raise EnvelopeError(
                f"the {self._purpose} was sealed with another SECRET_KEY than those set here"
            )
        try:
            raw = base64.b64decode(text, validate=True)
            salt, nonce = raw[:_SALT_BYTES], raw[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
            cipher = _cipher(secret, self._purpose, salt)
            return cipher.decrypt(nonce, raw[_SALT_BYTES + _NONCE_BYTES :], self._bound_to(context))
        except (InvalidTag, ValueError):
            raise EnvelopeError(
                f"the {self._purpose} was not sealed with this SECRET_KEY for this, or it is damaged"
            ) from None

    def names(self, text: str) -> list[str]:
        """What may stand for `text` where others can read it: the first is to be written.

        A keyed hash, one for each SECRET_KEY, so that what was written before a rotation is found.
        """
        if not self._names:
            return [sha256(text.encode()).hexdigest()]
        return [hmac.new(key, text.encode(), sha256).hexdigest() for key in self._names]

    def _bound_to(self, context: str) -> bytes:
        return f"{self._purpose}|{context}".encode()

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


def _key_id(secret: bytes) -> str:
    return derived_key(secret, "key id")[:4].hex()


# One salt for each process that seals and purpose.
@lru_cache(maxsize=4096)
def _cipher(secret: bytes, purpose: str, salt: bytes) -> AESGCM:
    return AESGCM(derived_key(secret, purpose, salt))


def derived_keys(settings: Settings, purpose: str) -> list[bytes]:
    """32 bytes for each SECRET_KEY, the first one's first; bound to the purpose."""
    secrets = [secret.get_secret_value().encode() for secret in settings.secret_key]
    return [derived_key(secret, purpose) for secret in secrets]


def derived_key(secret: bytes, purpose: str, salt: bytes | None = None) -> bytes:
    """A key of 32 bytes out of a secret."""
    # RFC 5869 3.2: `info` binds the key to its use.
    info = f"respond_async/{purpose}/2".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)
