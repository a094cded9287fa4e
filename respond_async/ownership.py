"""Who may ask for a request: the user or anonymous channel that sent it."""

from typing import Final

from fastapi import Request

from respond_async.errors import UnknownTaskId
from respond_async.identity import Identities
from respond_async.problems import Problem, unauthorized
from respond_async.scope import ASYNC_HEADER
from respond_async.stored import UNKNOWN
from respond_async.task_ids import IssuedId, TaskIds


class Ownership:
    """Judges who asks for what.

    Args:
        identities: Tells callers.
        ids: Reads ids.
    """

    def __init__(self, identities: Identities, ids: TaskIds) -> None:
        self._identities: Final = identities
        self._ids: Final = ids

    async def channel(self, request: Request, named: str | None) -> str:
        """The internal name of the caller's own channel.

        Args:
            request: The caller's.
            named: An anonymous channel from its query.

        Raises:
            Problem: 401, the request names nobody, or its token is not valid or was revoked; 503,
                whether it was is not known.
        """
        authorization = request.headers.get("authorization")
        await self._identities.prepare(authorization)
        bearer = self._identities.of_token(authorization)
        if bearer is not None:
            await self._identities.refuse_revoked(bearer)
            return bearer.channel
        anonymous = self._identities.anonymous(named or request.headers.get(ASYNC_HEADER))
        if anonymous is None:
            raise unauthorized(
                "Send the request's Bearer token, or its anonymous channel in X-Async-Request"
                " or ?channel=."
            )
        return anonymous.channel

    def issued(self, task_id: str, channel: str) -> IssuedId:
        """The id, if it is the channel's own.

        Raises:
            Problem: 404, we did not make the id; 403, it is somebody else's.
        """
        try:
            issued = self._ids.read(task_id)
        except UnknownTaskId:
            raise Problem(404, UNKNOWN) from None
        if not issued.belongs_to(channel):
            raise Problem(403, "This request is somebody else's.")
        return issued
