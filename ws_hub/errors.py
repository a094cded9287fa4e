"""What can go wrong in the hub.

HubError
├── BadChannel          a channel name that is none
├── BadMessage          a client's or publisher's message that is none
├── HubConfigurationError   settings that cannot work together
├── NotAllowed          a connection that is refused, with the reason for its client
├── TokenRejected       a JWT that does not let its bearer in
├── TooManyConnections  more than one user or address may have
└── SubscriptionTimeout Redis did not confirm a subscription in time
"""


class HubError(Exception):
    """Base of everything the hub raises itself."""


class BadChannel(HubError, ValueError):
    """The channel name breaks the rule; the message says the rule."""


class BadMessage(HubError, ValueError):
    """The message is not one of the protocol; the message says why. It never quotes it."""


class HubConfigurationError(HubError):
    """The settings do not allow what was asked; the message names the variable to set."""


class NotAllowed(HubError):
    """The connection is refused; the message tells its client why, and holds no secret."""


class TooManyConnections(HubError):
    """A user or an address has as many connections as it may; the message says which."""


class SubscriptionTimeout(HubError):
    """Redis has not confirmed the subscription in time; trying again later may work."""


class TokenRejected(HubError):
    """The token does not let its bearer in.

    Attributes:
        reason: A sentence for people, safe to send to the client: it holds neither the token
            nor anything of the key.
        code: The same for programs: `expired`, `not_yet_valid`, `forged`, `malformed`,
            `wrong_algorithm`, `wrong_audience`, `wrong_issuer`, `no_sub`, `no_key` or `revoked`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
