"""What a client does, step by step: pure, no I/O.

`steps` is a generator: it yields what is to be done and is sent what came of it, so that the
blocking and the asynchronous side share every decision.
"""

import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from respond_async.client.errors import ResultTimeout, ResultUnavailable

#: The request extension that asks for an asynchronous answer, or with False for a direct one.
EXTENSION: Final = "async"

_HEADER: Final = "X-Async-Request"
# Statuses that the result endpoint may give for itself, so that they may not be the answer's.
_AMBIGUOUS: Final = frozenset({401, 403, 404, 410, 429, 500, 502, 503, 504})
_REFUSED: Final = frozenset({401, 403, 404, 410})
_LONGEST_PAUSE_SECONDS: Final = 30.0
# What a long-poll may take beyond what it waits.
_MARGIN_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """An accepted request."""

    task_id: str
    #: Where its result is asked for.
    location: httpx.URL
    #: Who asks: what it was sent with.
    headers: Mapping[str, str] = field(repr=False)
    extensions: Mapping[str, Any] = field(repr=False)

    def raw(self, wait_seconds: float) -> httpx.Request:
        """Asks for the answer as its endpoint gave it."""
        url = self.location.copy_with(path=self.location.path.rstrip("/") + "/raw")
        if wait_seconds > 0:
            url = url.copy_merge_params({"wait": f"{wait_seconds:.3f}"})
        return self._request("GET", url, wait_seconds)

    def envelope(self) -> httpx.Request:
        """Asks whether the answer is there, and for its status."""
        return self._request("GET", self.location)

    def cancellation(self) -> httpx.Request:
        """Ends it."""
        return self._request("DELETE", self.location)

    def _request(self, method: str, url: httpx.URL, wait_seconds: float = 0) -> httpx.Request:
        timeout = dict(self.extensions.get("timeout", {}))
        if timeout.get("read") is not None:
            timeout["read"] = max(timeout["read"], wait_seconds + _MARGIN_SECONDS)
        return httpx.Request(method, url, headers=self.headers, extensions={"timeout": timeout})


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How results are waited for."""

    #: The anonymous channel of requests without a token; a secret.
    channel: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    #: How long one long-poll waits.
    wait_seconds: float = 25.0
    #: How long an answer is waited for; None: for ever.
    timeout_seconds: float | None = None
    on_accepted: Callable[[Job], None] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Read:
    """Read the body."""

    response: httpx.Response


@dataclass(slots=True)
class Progress:
    """Filled in on the way: what is to be cancelled if it ends early."""

    job: Job | None = None


Step = httpx.Request | Pause | Read
Steps = Generator[Step, httpx.Response | None, httpx.Response]


def steps(request: httpx.Request, options: Options, progress: Progress) -> Steps:
    """Sends a request and waits for its answer.

    A request that is yielded is answered by its response, whose body is unread; once accepted, an
    `httpx.TransportError` may be thrown in instead. `Pause` and `Read` are answered None.

    Args:
        request: Its headers are changed: it asks for an asynchronous answer.
        options: How to wait.
        progress: Is given the job once there is one.

    Raises:
        ResultUnavailable: The result is gone, unknown or somebody else's.
        ResultTimeout: The answer was not there within `timeout_seconds`.
    """
    if _HEADER not in request.headers:
        request.headers[_HEADER] = "true" if "Authorization" in request.headers else options.channel
    response = yield request
    assert response is not None
    if response.status_code != httpx.codes.ACCEPTED:
        return response
    yield Read(response)
    job = _job(request, response)
    if job is None:
        return response
    progress.job = job
    if options.on_accepted is not None:
        options.on_accepted(job)
    answer = yield from _awaited(job, options)
    progress.job = None
    return answer


def _awaited(job: Job, options: Options) -> Steps:
    seconds = options.timeout_seconds
    end = None if seconds is None else time.monotonic() + seconds
    failures = 0
    while True:
        left = _left(job, end)
        begun = time.monotonic()
        try:
            answer, pause = yield from _asked(job, min(options.wait_seconds, left))
            failures = 0
        except httpx.TransportError as error:
            if isinstance(error, ResultUnavailable):
                raise
            answer, pause = None, _backoff(failures)
            failures += 1
        if answer is not None:
            return answer
        # A service that waited has answered late; one that does not know `wait` says when to ask.
        rest = pause - (time.monotonic() - begun)
        if rest > 0:
            yield Pause(min(rest, _left(job, end)))


def _left(job: Job, end: float | None) -> float:
    if end is None:
        return float("inf")
    left = end - time.monotonic()
    if left <= 0:
        raise ResultTimeout(f"no answer of {job.task_id} in time; it was cancelled", job.task_id)
    return left


def _asked(
    job: Job, wait_seconds: float
) -> Generator[Step, httpx.Response | None, tuple[httpx.Response | None, float]]:
    """The answer if it is there, and how long to wait before asking again."""
    response = yield job.raw(wait_seconds)
    assert response is not None
    if _is_pending(response):
        yield Read(response)
        return None, _retry_after(response)
    if response.status_code not in _AMBIGUOUS:
        return response, 0.0
    # Read now, since the envelope is asked for over the same connection, perhaps.
    yield Read(response)
    envelope = yield job.envelope()
    assert envelope is not None
    yield Read(envelope)
    if envelope.status_code in _REFUSED:
        raise ResultUnavailable(_detail(envelope), job.task_id, envelope.status_code)
    if envelope.status_code != httpx.codes.OK:
        return None, _retry_after(envelope)
    same = envelope.json().get("status") == response.status_code
    return (response, 0.0) if same else (None, _backoff(0))


def _job(request: httpx.Request, response: httpx.Response) -> Job | None:
    location = response.headers.get("Location")
    if location is None:
        return None
    channel = None
    try:
        meta = response.json()["meta"]
        task_id, channel = meta["async_request_id"], meta.get("channel")
    except (ValueError, KeyError, TypeError, AttributeError):
        # The answer to HEAD has no body.
        if "respond-async" not in response.headers.get("Preference-Applied", ""):
            return None
        task_id = location.rstrip("/").rpartition("/")[2]
    kept = (_HEADER, "Authorization", "Cookie", "User-Agent")
    headers = {name: request.headers[name] for name in kept if name in request.headers}
    if channel is not None:
        headers[_HEADER] = channel
    return Job(
        task_id=task_id,
        location=request.url.join(location),
        headers=headers,
        extensions=request.extensions,
    )


def _is_pending(response: httpx.Response) -> bool:
    return (
        response.status_code == httpx.codes.ACCEPTED
        and response.headers.get("X-Async-Status") == "pending"
    )


def _retry_after(response: httpx.Response) -> float:
    """Seconds of `Retry-After` (RFC 9110 10.2.3); 1 without it."""
    text = response.headers.get("Retry-After", "1")
    try:
        return min(float(text), _LONGEST_PAUSE_SECONDS)
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 1.0
    seconds = (at - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_PAUSE_SECONDS)


def _backoff(failures: int) -> float:
    longest = min(0.5 * 2.0 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
