"""`POST /demo/token`: in development mode, a token to try the service with."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, Field

from respond_async import Problem
from ws_hub import HubConfigurationError, HubSettings, TokenVerifier

__all__ = ["token_router"]

_LIFETIME_SECONDS = 3600


def _printable(sub: str) -> str:
    if not sub.isprintable():
        raise ValueError("sub must be printable characters")
    return sub


#: What a verifier takes as a token's `sub`.
Sub = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]


class TokenRequest(BaseModel):
    """Who to be."""

    sub: Sub


class Token(BaseModel):
    """An access token, as OAuth 2.0 answers one (RFC 6749 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the kind of token
    expires_in: int = Field(default=_LIFETIME_SECONDS, description="Seconds")


def token_router(settings: HubSettings) -> APIRouter:
    """The endpoint, for development mode only: whoever reaches it can be anybody.

    Args:
        settings: Theirs is the key that signs.
    """
    router = APIRouter()
    verifier = TokenVerifier(settings)

    @router.post("/token")
    async def token(response: Response, wanted: TokenRequest) -> Token:
        """A token for the `sub` given, valid for an hour; only in development mode."""
        try:
            made = Token(access_token=verifier.issue(wanted.sub, _LIFETIME_SECONDS))
        except HubConfigurationError as error:
            raise Problem(503, f"No token: {error}.") from error
        response.headers["Cache-Control"] = "no-store"
        return made

    return router
