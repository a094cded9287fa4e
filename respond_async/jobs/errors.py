"""What goes wrong in a job, and in creating one."""

from collections.abc import Mapping
from typing import Any

from respond_async.errors import RespondAsyncError


class TaskError(RespondAsyncError):
    """A job's error as its owner sees it; raised by a job, or by what creates and asks for jobs.

    Codes of the library's own: `invalid_arguments`, `invalid_schedule`, `too_many` (schedules), `unavailable` (Redis or the broker does not
    answer), `not_found`, `not_ended`, `error` (the job raised something else), `lost` (its worker
    died and it may not be repeated), `timeout`, `cancelled`.

    Args:
        code: For programs.
        message: For people; holds no secret.
        details: More, as JSON.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.details)
