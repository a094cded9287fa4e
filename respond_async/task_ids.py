"""Ids that carry their own proof: when a request was accepted, and for whom.

So the app keeps nothing of a request that waits: who asks for its result shows the id, and the id
says whether it is one of ours, whose it is and how old. 64 characters, base64url (RFC 4648 5), of
48 bytes:

     6   milliseconds since 1970, big-endian
    12   random: an id cannot be guessed
    14   the owner's channel, as a keyed digest: an id tells nobody whose it is, nor which ids
         are the same owner's
    16   HMAC-SHA-256 of all that

The keys are derived from SECRET_KEY. Without one they are the same everywhere, so that several
processes of a development service understand each other's ids; such an id proves nothing.
"""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from respond_async.errors import UnknownTaskId
from respond_async.sealing import derived_key, derived_keys
from respond_async.settings import Settings

_FORM: Final = re.compile(r"[A-Za-z0-9_-]{64}", re.ASCII)
_TIME_BYTES: Final = 6
_RANDOM_BYTES: Final = 12
_OWNER_BYTES: Final = 14
_PROOF_BYTES: Final = 16
_HEAD_BYTES: Final = _TIME_BYTES + _RANDOM_BYTES
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class IssuedId:
    """An id that was made with one of our keys."""

    accepted_at: datetime
    _key: bytes
    _head: bytes
    _owner: bytes

    def belongs_to(self, channel: str) -> bool:
        """Whether it was made for the channel of this internal name."""
        return hmac.compare_digest(self._owner, _owner(self._key, self._head, channel))


class TaskIds:
    """Makes and reads ids.

    Args:
        settings: Their `secret_key`: the first makes, all read, so keys can be rotated.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys: Final = derived_keys(settings, "task id") or [derived_key(b"", "task id")]

    def make(self, channel: str, at: datetime) -> str:
        """A new id.

        Args:
            channel: The internal name of the owner's channel.
            at: The moment of acceptance; kept to the millisecond.
        """
        key = self._keys[0]
        milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
        head = milliseconds.to_bytes(_TIME_BYTES) + secrets.token_bytes(_RANDOM_BYTES)
        owned = head + _owner(key, head, channel)
        return base64.urlsafe_b64encode(owned + _proof(key, owned)).decode()

    def read(self, task_id: str) -> IssuedId:
        """What an id says.

        Raises:
            UnknownTaskId: None of our keys made it.
        """
        # base64 skips over characters that are none of its own.
        if _FORM.fullmatch(task_id):
            text = base64.urlsafe_b64decode(task_id)
            owned, proof = text[:-_PROOF_BYTES], text[-_PROOF_BYTES:]
            for key in self._keys:
                if hmac.compare_digest(proof, _proof(key, owned)):
                    milliseconds = int.from_bytes(owned[:_TIME_BYTES])
                    return IssuedId(
                        _EPOCH + timedelta(milliseconds=milliseconds),
                        key,
                        owned[:_HEAD_BYTES],
                        owned[_HEAD_BYTES:],
                    )
        raise UnknownTaskId("the id was not made with this SECRET_KEY")


def _owner(key: bytes, head: bytes, channel: str) -> bytes:
    return hmac.digest(key, b"owner" + head + channel.encode(), "sha256")[:_OWNER_BYTES]


def _proof(key: bytes, owned: bytes) -> bytes:
    return hmac.digest(key, b"proof" + owned, "sha256")[:_PROOF_BYTES]
