"""What every client is served from: one pub/sub connection, one for commands, per process."""

from collections.abc import Sequence
from typing import Final

from ws_hub.admission import Wanted
from ws_hub.commands import commands
from ws_hub.following import Follow, Receiver
from ws_hub.history import History, HistoryLimits
from ws_hub.settings import HubSettings
from ws_hub.subscriber import Listener, Subscriber


class Feeds:
    """Nothing connects to Redis before the first client.

    Args:
        settings: Where Redis is, and how much is kept.
        control: Hears what concerns all hubs.
    """

    def __init__(self, settings: HubSettings, control: Listener) -> None:
        self._timeout: Final = settings.hub_subscribe_timeout_seconds
        limits = HistoryLimits(settings.hub_history_messages, settings.hub_history_seconds)
        self.commands: Final = commands(settings.redis_url)
        self.subscriber: Final = Subscriber(settings.redis_url, control=control)
        self.history: Final = History(self.commands, limits)

    def follow(self, wanted: Wanted, receiver: Receiver) -> Follow:
        """Begins to follow a channel."""
        follow = Follow(
            wanted.name,
            wanted.channel,
            wanted.since,
            receiver,
            subscriber=self.subscriber,
            history=self.history,
            timeout_seconds=self._timeout,
        )
        follow.start()
        return follow

    def follow_all(self, wanted: Sequence[Wanted], receiver: Receiver) -> dict[str, Follow]:
        """Begins to follow several, by internal name."""
        return {one.channel: self.follow(one, receiver) for one in wanted}

    async def close(self) -> None:
        """Closes both connections; they are opened again at the next need."""
        await self.subscriber.stop()
        await self.commands.close()
