"""Errors as clients see them: problem details (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import HTTPException, Request, Response

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """Raised anywhere below the app, answered as `application/problem+json`.

    An `HTTPException`, because FastAPI lets only that pass when it is raised while the body is
    read.

    Args:
        status: The HTTP status.
        detail: What went wrong and what to do, for people; holds no secret.
        headers: Added to the answer.
        extensions: Added to the problem (RFC 9457 3.2).
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(status_code=status, detail=detail, headers=dict(headers or {}))
        self.extensions = extensions


def problem_body(status: int, detail: str, instance: str, **extensions: Any) -> bytes:
    """The JSON text of a problem (RFC 9457 3.1).

    Args:
        status: The HTTP status, which names the problem: its type is `about:blank`.
        detail: What went wrong and what to do.
        instance: The path of the request that it happened to.
        extensions: More members.
    """
    known = {member.value: member.phrase for member in HTTPStatus}
    problem = {
        "type": "about:blank",
        "title": known.get(status, f"Status {status}"),
        "status": status,
        "detail": detail,
        "instance": instance,
        **extensions,
    }
    return json.dumps(problem).encode()


def unauthorized(detail: str) -> Problem:
    """401 with the challenge that RFC 6750 3 asks for."""
    return Problem(401, detail, {"WWW-Authenticate": "Bearer"})


def unavailable(detail: str, retry_after_seconds: int) -> Problem:
    """503: what the service needs does not answer now."""
    return Problem(503, detail, {"Retry-After": str(max(1, retry_after_seconds))})


async def answer_problem(request: Request, problem: Exception) -> Response:
    """The exception handler of `Problem`."""
    assert isinstance(problem, Problem)
    body = problem_body(problem.status_code, problem.detail, request.url.path, **problem.extensions)
    headers = {"Cache-Control": "no-store", **(problem.headers or {})}
    return Response(body, problem.status_code, headers, MEDIA_TYPE)
