"""A socket of version 2: several channels, recovery, tokens that are renewed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError
from starlette.websockets import WebSocket

from ws_hub import protocol, protocol2
from ws_hub.admission import Admission, Wanted
from ws_hub.errors import BadChannel, BadMessage, NotAllowed, TooManyConnections
from ws_hub.feeds import Feeds
from ws_hub.following import Follow
from ws_hub.limits import Connections
from ws_hub.positions import Position
from ws_hub.published import Published
from ws_hub.settings import HubSettings
from ws_hub.sockets import Socket
from ws_hub.tokens import Claims

if TYPE_CHECKING:
    import asyncio


class Session2(Socket):
    """Hears the channels it subscribes to, each from where the client left it.

    Args:
        websocket: Accepted.
        claims: Of the token it came with, already counted; None: it may log in later.
        wanted: The channels its URL asks for.
        settings: Limits and intervals.
        admission: Judges what it asks for later.
        feeds: Where messages come from.
        connections: Counts users.
    """

    def __init__(
        self,
        websocket: WebSocket,
        claims: Claims | None,
        wanted: Sequence[Wanted],
        settings: HubSettings,
        *,
        admission: Admission,
        feeds: Feeds,
        connections: Connections,
    ) -> None:
        super().__init__(websocket, settings)
        self._wanted: Final = wanted
        self._admission: Final = admission
        self._feeds: Final = feeds
        self._connections: Final = connections
        self._follows: dict[str, Follow] = {}
        self._login: asyncio.TimerHandle | None = None
        if claims is not None:
            self._logged_in(claims)

    def restart(self, seconds: int) -> None:
        """Says within how long to come back."""
        self.end(protocol.CLOSE_RESTART, f"the server restarts, reconnect within {seconds} s")

    async def room(self) -> None:
        """See `Receiver`."""
        await self._outbox.room()

    def take(self, follow: Follow, published: Published) -> None:  # noqa: ARG002 - as in Receiver
        """See `Receiver`."""
        self._outbox.put(published.numbered())

    def caught_up(self, follow: Follow, recovered: bool | None, seen: Position | None) -> None:  # noqa: FBT001 - as in Receiver
        """See `Receiver`."""
        assert follow.position is not None
        shown = protocol.shown_channel(follow.channel)
        self._put(protocol2.subscribed(shown, follow.position, recovered=recovered, seen=seen))

    def failed(self, follow: Follow) -> None:  # noqa: ARG002 - as in Receiver
        """See `Receiver`."""
        self.end(protocol.CLOSE_TRY_AGAIN_LATER, "notifications are not available now")

    def _opened(self) -> None:
        user = None if self.claims is None else self.claims.sub
        self._put(protocol2.welcome(user, self._settings.hub_ping_interval_seconds))
        self._follows = self._feeds.follow_all(self._wanted, self)
        if not self._follows and self.claims is None:
            self._login = self._loop.call_later(
                self._settings.hub_auth_timeout_seconds, self._still_nobody
            )

    def _closed(self) -> None:
        for follow in self._follows.values():
            follow.stop()
        if self._login is not None:
            self._login.cancel()

    def _still_nobody(self) -> None:
        if not self._follows and self.claims is None:
            self.end(protocol.CLOSE_NOT_ALLOWED, "neither a token nor a channel came in time")

    async def _answer(self, text: str | None) -> dict[str, Any] | None:
        if text is None:
            return protocol2.error("binary messages are not understood; send JSON as text")
        try:
            command = protocol2.parse_command(text)
        except BadMessage as wrong:
            return protocol2.error(str(wrong))
        match command:
            case "ping":
                return protocol.pong()
            case "pong":
                return None
            case protocol2.Auth(token):
                return await self._auth(token)
            case protocol2.Subscribe(name) | protocol2.Unsubscribe(name) | protocol2.Ack(name):
                return await self._on_channel(name, command)

    async def _on_channel(
        self, name: str, command: protocol2.Subscribe | protocol2.Unsubscribe | protocol2.Ack
    ) -> dict[str, Any] | None:
        try:
            channel = self._admission.channel(name, self.claims)
        except (NotAllowed, BadChannel) as refused:
            return protocol2.error(str(refused), name)
        follow = self._follows.get(channel)
        if isinstance(command, protocol2.Subscribe):
            return self._subscribe(Wanted(name, channel, command.since), follow)
        if follow is None:
            return protocol2.error("not subscribed", name)
        if isinstance(command, protocol2.Unsubscribe):
            follow.stop()
            del self._follows[channel]
            return protocol2.unsubscribed(protocol.shown_channel(channel))
        try:
            await self._feeds.history.ack(channel, command.position)
        except RedisError:
            return protocol2.error("the ack was not kept: Redis does not answer", name)
        return None

    def _subscribe(self, wanted: Wanted, already: Follow | None) -> dict[str, Any] | None:
        limit = self._settings.hub_channels_per_connection
        if already is not None:
            # From where it says it is, so that nobody has to unsubscribe to look back.
            already.stop()
        elif len(self._follows) >= limit:
            return protocol2.error(f"a connection may hear {limit} channels", wanted.name)
        self._follows[wanted.channel] = self._feeds.follow(wanted, self)
        return None

    async def _auth(self, token: str) -> dict[str, Any] | None:
        before = self.claims
        try:
            claims = await self._admission.claims(token)
            if before is None:
                self._connections.come(claims.sub)
        except TooManyConnections as many:
            self.end(protocol.CLOSE_TRY_AGAIN_LATER, str(many))
            return None
        except RedisError:
            return protocol2.error("the token cannot be judged now: Redis does not answer")
        except NotAllowed as refused:
            if before is None:
                self.end(protocol.CLOSE_NOT_ALLOWED, str(refused))
                return None
            # The token it has is still good.
            return protocol2.error(str(refused))
        if before is not None and before.sub != claims.sub:
            self.end(protocol.CLOSE_NOT_ALLOWED, "the token is another user's")
            return None
        self._logged_in(claims)
        return protocol2.authenticated(claims.expires_at)
