"""A WebSocket and SSE hub over Redis: clients hear that their task has ended, even if they were away.

    from fastapi import FastAPI
    from ws_hub import Hub, HubSettings

    app = FastAPI()
    Hub(HubSettings()).install(app)

adds `/ws?token=JWT`, `/ws?channel=NAME` and the same at `/events`; `uvicorn ws_hub.main:app` runs it as a process of its
own. Any process publishes with `publish(redis_client, user_channel("alice"), completed(task_id))`.
"""

from typing import TYPE_CHECKING, Any

from ws_hub.errors import (
    BadChannel,
    BadMessage,
    HubConfigurationError,
    HubError,
    NotAllowed,
    SubscriptionTimeout,
    TokenRejected,
    TooManyConnections,
)
from ws_hub.history import PUBLISH_LUA, HistoryLimits, Publication, publication
from ws_hub.lua import Argument, Script, SharedPipeline
from ws_hub.positions import Position, parse_position
from ws_hub.protocol import (
    anonymous_channel,
    completed,
    encode,
    is_anonymous_name,
    redis_channel,
    shown_channel,
    user_channel,
    user_of_channel,
)
from ws_hub.publish import publish, publish_async
from ws_hub.published import Published
from ws_hub.revocation import revoke, revoke_async
from ws_hub.rounds import Rounds
from ws_hub.servers import connect, connect_async, parse_servers
from ws_hub.settings import CommaSeparated, HubSettings
from ws_hub.tokens import Claims, TokenVerifier

if TYPE_CHECKING:
    from ws_hub.hub import Hub
    from ws_hub.revoked import Revocations
    from ws_hub.subscriber import Subscriber

__all__ = [
    "PUBLISH_LUA",
    "Argument",
    "BadChannel",
    "BadMessage",
    "Claims",
    "CommaSeparated",
    "HistoryLimits",
    "Hub",
    "HubConfigurationError",
    "HubError",
    "HubSettings",
    "NotAllowed",
    "Position",
    "Publication",
    "Published",
    "Revocations",
    "Rounds",
    "Script",
    "SharedPipeline",
    "Subscriber",
    "SubscriptionTimeout",
    "TokenRejected",
    "TokenVerifier",
    "TooManyConnections",
    "anonymous_channel",
    "completed",
    "connect",
    "connect_async",
    "encode",
    "is_anonymous_name",
    "parse_position",
    "parse_servers",
    "publication",
    "publish",
    "publish_async",
    "redis_channel",
    "revoke",
    "revoke_async",
    "shown_channel",
    "user_channel",
    "user_of_channel",
]


def __getattr__(name: str) -> Any:
    # A publisher (a Celery worker) needs neither Starlette nor redis.asyncio: only these do.
    if name == "Hub":
        from ws_hub.hub import Hub

        return Hub
    if name == "Revocations":
        from ws_hub.revoked import Revocations

        return Revocations
    if name == "Subscriber":
        from ws_hub.subscriber import Subscriber

        return Subscriber
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
