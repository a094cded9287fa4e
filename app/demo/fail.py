"""`GET /demo/fail`: an endpoint that answers an error."""

from typing import Annotated

from fastapi import APIRouter, Query

from respond_async import Problem

__all__ = ["router"]

router = APIRouter()


@router.get("/fail")
async def fail(status: Annotated[int, Query(ge=400, le=599)] = 500) -> None:
    """Answers the status asked for, 400 to 599, as a problem (RFC 9457)."""
    raise Problem(status, f"Status {status} was asked for.")
