"""`GET /demo/me`: who the caller is."""

from typing import Annotated

from fastapi import APIRouter, Depends

from respond_async import Identity, current_identity

__all__ = ["router"]

router = APIRouter()


@router.get("/me")
async def me(identity: Annotated[Identity, Depends(current_identity)]) -> dict[str, str | None]:
    """Answers who the token says one is; `sub` is null for a caller known by a channel alone."""
    return {"sub": identity.sub}
