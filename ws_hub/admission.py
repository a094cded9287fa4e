"""Who is let in, and to which channels: the same for WebSocket, SSE and long-poll."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection

from ws_hub import protocol, protocol2
from ws_hub.errors import NotAllowed, TokenRejected
from ws_hub.origins import origin_allowed
from ws_hub.positions import Position
from ws_hub.revoked import Revocations
from ws_hub.settings import HubSettings
from ws_hub.tokens import Claims, TokenVerifier


@dataclass(frozen=True, slots=True)
class Wanted:
    """A channel that a client asks for."""

    #: What the client calls it.
    name: str
    #: Its internal name.
    channel: str
    since: Position | None


class Admission:
    """Judges connections by the settings.

    Args:
        settings: Keys, origins, whether anonymous channels are open.
        revocations: Tokens that were taken back.

    Raises:
        HubConfigurationError: JWT_PUBLIC_KEY is not a key for JWT_ALGORITHM.
    """

    def __init__(self, settings: HubSettings, revocations: Revocations) -> None:
        self._settings: Final = settings
        self._tokens: Final = TokenVerifier(settings)
        self._revocations: Final = revocations

    def check_origin(self, connection: HTTPConnection) -> None:
        """Returns if a page from the connection's origin may open it.

        Raises:
            NotAllowed: It may not.
        """
        headers = connection.headers
        allowed = self._settings.hub_allowed_origins
        if not origin_allowed(headers.get("origin"), headers.get("host"), allowed):
            raise NotAllowed("this page's origin is not in HUB_ALLOWED_ORIGINS")

    async def claims(self, token: str) -> Claims:
        """What a token says, if it is valid and was not revoked.

        Raises:
            NotAllowed: It is not.
            redis.RedisError: Whether it was revoked is not known.
        """
        await self._tokens.prepare(token)
        try:
            claims = self._tokens.verify(token)
            await self._revocations.check(claims, self._settings.hub_subscribe_timeout_seconds)
        except TokenRejected as rejected:
            raise NotAllowed(rejected.reason) from None
        return claims

    def channel(self, name: str, claims: Claims | None) -> str:
        """The internal name of the channel that a client calls `name`.

        Raises:
            NotAllowed: It is not for this client.
            BadChannel: There can be none of that name.
        """
        if claims is not None:
            own = protocol.user_channel(claims.sub)
            if name in {protocol2.USER, protocol.shown_channel(own)}:
                return own
        elif name == protocol2.USER:
            raise NotAllowed("the user's channel needs a token")
        channel = protocol.anonymous_channel(name)
        if not self._settings.allow_anonymous:
            raise NotAllowed("anonymous channels are switched off: connect with ?token=JWT")
        return channel

    def wanted(
        self, connection: HTTPConnection, claims: Claims | None, since: Sequence[str]
    ) -> list[Wanted]:
        """The channels that a connection's URL asks for: the user's, if there is a token, and named ones.

        Raises:
            NotAllowed: One of them is not for this client, or they are too many.
            BadChannel: There can be none of that name.
            BadMessage: A `since` is none.
        """
        names = list(dict.fromkeys(connection.query_params.getlist("channel")))
        if claims is not None and protocol2.USER not in names:
            names.insert(0, protocol2.USER)
        limit = self._settings.hub_channels_per_connection
        if len(names) > limit:
            raise NotAllowed(f"a connection may hear {limit} channels")
        channels = [self.channel(name, claims) for name in names]
        positions = protocol2.parse_since(since, names)
        return [
            Wanted(name, channel, positions.get(name))
            for name, channel in zip(names, channels, strict=True)
        ]

    def check_legacy(self, connection: HTTPConnection) -> None:
        """Returns if a socket of version 1 asks for one channel.

        Raises:
            NotAllowed: Its URL has both a token and a channel, or neither.
        """
        query = connection.query_params
        if ("token" in query) == ("channel" in query):
            raise NotAllowed("connect with either ?token=JWT or ?channel=NAME")
