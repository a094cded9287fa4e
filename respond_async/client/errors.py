"""What can go wrong after a request was accepted.

httpx.TransportError
└── AsyncRequestError
    ├── ResultUnavailable   gone, unknown or somebody else's
    └── ResultTimeout       not there within the time given (an httpx.TimeoutException too)
"""

import httpx


class AsyncRequestError(httpx.TransportError):
    """Base of the client's own errors.

    Attributes:
        task_id: The request's id.
    """

    def __init__(self, message: str, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id


class ResultUnavailable(AsyncRequestError):
    """The result cannot be had any more; the message says what the service said.

    Attributes:
        status: 401, 403, 404 or 410: the result endpoint's own answer.
    """

    def __init__(self, message: str, task_id: str, status: int) -> None:
        super().__init__(message, task_id)
        self.status = status


class ResultTimeout(AsyncRequestError, httpx.TimeoutException):
    """The answer was not there in time; the request was cancelled."""
