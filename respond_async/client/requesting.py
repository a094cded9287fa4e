"""Asking asynchronously with a client whose transport stays as it is."""

from collections.abc import Callable, Coroutine
from typing import Any, overload

import httpx

from respond_async.client.driving import drive, drive_async
from respond_async.client.steps import Job, Options

__all__ = ["request_async"]


@overload
def request_async(
    client: httpx.Client,
    method: str,
    url: httpx.URL | str,
    *,
    timeout_seconds: float | None = None,
    wait_seconds: float = 25.0,
    on_accepted: Callable[[Job], None] | None = None,
    **request: Any,
) -> httpx.Response: ...


@overload
def request_async(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL | str,
    *,
    timeout_seconds: float | None = None,
    wait_seconds: float = 25.0,
    on_accepted: Callable[[Job], None] | None = None,
    **request: Any,
) -> Coroutine[Any, Any, httpx.Response]: ...


def request_async(
    client: httpx.Client | httpx.AsyncClient,
    method: str,
    url: httpx.URL | str,
    *,
    timeout_seconds: float | None = None,
    wait_seconds: float = 25.0,
    on_accepted: Callable[[Job], None] | None = None,
    **request: Any,
) -> httpx.Response | Coroutine[Any, Any, httpx.Response]:
    """The endpoint's own answer to a request that is sent asynchronously.

    The client's `auth` is asked for each exchange, so a token may be renewed while the answer is
    waited for. Redirects are not followed.

    Args:
        client: Awaitable with `httpx.AsyncClient`.
        method: As for `client.request`, and so the url.
        url: The endpoint.
        timeout_seconds: How long the answer is waited for; None: for ever.
        wait_seconds: How long one long-poll waits.
        on_accepted: Called with the accepted request.
        **request: Anything of `client.build_request`.

    Raises:
        ResultUnavailable: The result is gone, unknown or somebody else's.
        ResultTimeout: The answer was not there in time.
        httpx.TransportError: The network failed before the request was accepted.
    """
    options = Options(
        wait_seconds=wait_seconds, timeout_seconds=timeout_seconds, on_accepted=on_accepted
    )
    built = client.build_request(method, url, **request)
    if isinstance(client, httpx.AsyncClient):
        return _asynchronously(client, built, options)

    def send(one: httpx.Request) -> httpx.Response:
        return client.send(one, stream=True, follow_redirects=False)

    answer = drive(built, options, send)
    answer.read()
    return answer


async def _asynchronously(
    client: httpx.AsyncClient, built: httpx.Request, options: Options
) -> httpx.Response:
    async def send(one: httpx.Request) -> httpx.Response:
        return await client.send(one, stream=True, follow_redirects=False)

    answer = await drive_async(built, options, send)
    await answer.aread()
    return answer
