"""What the headers of a captured request say, read in one pass."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from respond_async.idempotency import IDEMPOTENCY_HEADER
from respond_async.scope import ASYNC_HEADER

_READ: Final = {
    name.encode(): place
    for place, name in enumerate(
        ("authorization", "cookie", ASYNC_HEADER, "prefer", IDEMPOTENCY_HEADER)
    )
}


class Asking(NamedTuple):
    """The values of each header, in order."""

    authorization: list[str]
    cookie: list[str]
    asynchronously: list[str]
    prefer: list[str]
    idempotency_key: list[str]

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Asking":
        """Reads an ASGI scope's headers."""
        asking = cls([], [], [], [], [])
        for name, value in headers:
            place = _READ.get(name)
            if place is not None:
                asking[place].append(value.decode("latin-1"))
        return asking

    @property
    def has_credentials(self) -> bool:
        """Whether there is what nobody else may read."""
        return bool(self.authorization or self.cookie)
