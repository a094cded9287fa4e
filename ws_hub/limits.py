"""How many connections one user or one address has to this process."""

from collections import Counter

from ws_hub.errors import TooManyConnections
from ws_hub.settings import HubSettings


class Connections:
    """Counts what is open.

    Args:
        settings: The limits.
    """

    def __init__(self, settings: HubSettings) -> None:
        self._settings = settings
        self._users: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def come_from(self, address: str) -> None:
        """Counts a connection from `address`.

        Raises:
            TooManyConnections: There are as many as may be; it is not counted.
        """
        _add(self._addresses, address, self._settings.hub_connections_per_address, "this address")

    def leave_from(self, address: str) -> None:
        """One less from `address`."""
        _remove(self._addresses, address)

    def come(self, user: str) -> None:
        """Counts a connection of `user`.

        Raises:
            TooManyConnections: There are as many as may be; it is not counted.
        """
        _add(self._users, user, self._settings.hub_connections_per_user, "this user")

    def leave(self, user: str) -> None:
        """One less of `user`."""
        _remove(self._users, user)


def _add(counter: Counter[str], key: str, limit: int, whose: str) -> None:
    if limit and counter[key] >= limit:
        raise TooManyConnections(f"{whose} has {limit} connections already")
    counter[key] += 1


def _remove(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
