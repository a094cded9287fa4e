"""`respond-async send`: one asynchronous request, as if it were not one."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Annotated, Final, Self

import httpx
import typer
from rich.console import Console
from rich.status import Status

from respond_async.client import AsyncRequestError, Job, ResultTimeout, request_async
from respond_async.command.asking import (
    ASYNC_HEADER,
    Channel,
    Data,
    Headers,
    Token,
    address,
    body_of,
    headers_of,
)
from respond_async.command.events import EventsRefused, follow

__all__ = ["send"]

#: Of one exchange, not of the whole: an upload, or what the service says.
_EXCHANGE_SECONDS: Final = 60.0
#: Exit codes: the first digit of the endpoint's status, but for what went well.
_NO_ANSWER: Final = 1
_TIMED_OUT: Final = 124
_INTERRUPTED: Final = 130


def send(
    method: Annotated[str, typer.Argument(help="GET, POST, ...", metavar="METHOD")],
    url: Annotated[str, typer.Argument(help="The endpoint's.")],
    *,
    header: Headers = None,
    data: Data = None,
    token: Token = None,
    channel: Channel = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds after which it is cancelled; default: never."),
    ] = None,
    include: Annotated[
        bool, typer.Option("-i", "--include", help="The answer's headers too, on standard error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors alone.")] = False,
) -> None:
    """Send a request asynchronously and wait for its answer.

    The answer's body goes to standard output, all else to standard error. Ctrl-C cancels the
    request. A body that is JSON is sent as JSON, unless -H says what it is.

    Exit code: 0 for 2xx; 3, 4 or 5 for 3xx, 4xx and 5xx; 1: no answer; 124: --timeout is over;
    130: Ctrl-C.
    """
    body = body_of(data)
    url, headers = address(url), headers_of(header, token, channel, body)
    with (
        httpx.Client(timeout=_EXCHANGE_SECONDS) as client,
        _cancelling_watched(client) as cancelled,
        _Line(client, quiet=quiet) as line,
    ):
        try:
            answer = request_async(
                client, method.upper(), url, content=body, headers=headers,
                timeout_seconds=timeout, on_accepted=line.accepted,
            )  # fmt: skip
        except KeyboardInterrupt:
            line.end(_how_it_ended(line.job, cancelled=cancelled()))
            raise typer.Exit(_INTERRUPTED) from None
        except ResultTimeout:
            line.end(
                f"no answer within {timeout:g} s: {_how_it_ended(line.job, cancelled=cancelled())}"
            )
            raise typer.Exit(_TIMED_OUT) from None
        except (AsyncRequestError, httpx.HTTPError) as error:
            line.end(f"respond-async: {url}: {str(error) or type(error).__name__}")
            raise typer.Exit(_NO_ANSWER) from None
        line.answered(answer, include=include)
    sys.stdout.buffer.write(answer.content)
    sys.stdout.buffer.flush()
    raise typer.Exit(0 if answer.is_success else answer.status_code // 100)


class _Line:
    """What is told on standard error: in a terminal one line that changes, else a line each."""

    def __init__(self, client: httpx.Client, *, quiet: bool) -> None:
        self._client: Final = client
        self._quiet: Final = quiet
        self._console: Final = Console(stderr=True, highlight=False, markup=False)
        self._begun: Final = time.monotonic()
        self._status: Final = (
            Status("sending", console=self._console)
            if self._console.is_terminal and not quiet
            else None
        )
        self.job: Job | None = None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def accepted(self, job: Job) -> None:
        """The request is in the queue."""
        self.job = job
        self._say(f"accepted {job.task_id}")
        if not self._quiet:
            self._show("waiting")
            # Ends with the process: nobody waits for what only tells.
            Thread(target=self._follow, args=(job,), daemon=True).start()

    def answered(self, answer: httpx.Response, *, include: bool) -> None:
        """The answer is there."""
        how = "" if self.job is not None else ", answered directly"
        took = time.monotonic() - self._begun
        self._say(f"{answer.status_code} {answer.reason_phrase} after {took:.1f} s{how}")
        if include:
            for name, value in answer.headers.multi_items():
                typer.echo(f"{name}: {value}", err=True)

    def end(self, text: str) -> None:
        """Why there is no answer."""
        if self._status is not None:
            self._status.stop()
        typer.echo(text, err=True)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    def _follow(self, job: Job) -> None:
        """Shows the progress that the endpoint reports, where a hub tells it."""
        own = job.headers.get("Authorization")
        params = {} if own else {"channel": job.headers[ASYNC_HEADER]}
        headers = {"Authorization": own} if own else {}
        hub = str(job.location.copy_with(path="/", query=None))
        with contextlib.suppress(EventsRefused, httpx.HTTPError, RuntimeError, ValueError):
            for event in follow(self._client, hub, params=params, headers=headers):
                if event.kind == "data":
                    told = json.loads(event.data["data"])
                    if told.get("task_id") == job.task_id and told.get("status") == "progress":
                        self._progressed(f"{told['done']:.0%} {told.get('detail', '')}".strip())

    def _progressed(self, text: str) -> None:
        if self._status is None:
            self._say(text)
        else:
            self._show(text)


@contextmanager
def _cancelling_watched(client: httpx.Client) -> Iterator[Callable[[], bool]]:
    """Whether the service has taken a cancelling: the client sends it and does not tell."""
    taken = False

    def see(response: httpx.Response) -> None:
        nonlocal taken
        taken = taken or (response.request.method == "DELETE" and response.is_success)

    client.event_hooks = {"request": [], "response": [see]}
    yield lambda: taken


def _how_it_ended(job: Job | None, *, cancelled: bool) -> str:
    if job is None:
        return "it was not accepted yet"
    if cancelled:
        return f"cancelled {job.task_id}"
    return f"{job.task_id} could not be cancelled: it may still run"
