"""A transport that waits for asynchronous answers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from respond_async.client.driving import drive, drive_async
from respond_async.client.steps import EXTENSION, Job, Options

__all__ = ["AsyncRequestTransport"]


class AsyncRequestTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Wraps a transport, for `httpx.Client` or `httpx.AsyncClient`.

    A request with `extensions={"async": True}` is sent with `X-Async-Request`, and its response is
    the endpoint's own once that is there. `{"async": {"timeout": 60}}` gives up after so many
    seconds with `ResultTimeout`; `{"async": False}` asks directly whatever `everything` says. What
    the service does not accept (4xx, 5xx, an answer that was not made asynchronous) is passed
    through. Giving up, cancelling the asyncio task or Ctrl-C cancels the request.

    httpx' own timeouts bound each exchange, not the wait.

    Args:
        transport: What sends. Default: httpx' own.
        everything: Whether requests without the extension are asynchronous too.
        channel: The anonymous channel of requests without an Authorization header, a secret of 16
            to 128 characters of A-Z a-z 0-9 _ -. Default: a random one.
        wait_seconds: How long one long-poll waits; 0: asks as often as the service says.
        timeout_seconds: How long an answer is waited for. Default: for ever.
        on_accepted: Called with each accepted request.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        *,
        everything: bool = False,
        channel: str | None = None,
        wait_seconds: float = 25.0,
        timeout_seconds: float | None = None,
        on_accepted: Callable[[Job], None] | None = None,
    ) -> None:
        self._blocking = transport if isinstance(transport, httpx.BaseTransport) else None
        self._asynchronous = transport if isinstance(transport, httpx.AsyncBaseTransport) else None
        self._everything: Final = everything
        options = Options(
            wait_seconds=wait_seconds, timeout_seconds=timeout_seconds, on_accepted=on_accepted
        )
        self._options: Final = options if channel is None else replace(options, channel=channel)

    @property
    def channel(self) -> str:
        """The anonymous channel; who knows it may read its results."""
        return self._options.channel

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends for `httpx.Client`."""
        if self._blocking is None:
            if self._asynchronous is not None:
                raise TypeError("the transport that is wrapped is one for httpx.AsyncClient")
            self._blocking = httpx.HTTPTransport()
        options = self._chosen(request)
        if options is None:
            return self._blocking.handle_request(request)
        return drive(request, options, self._blocking.handle_request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends for `httpx.AsyncClient`."""
        if self._asynchronous is None:
            if self._blocking is not None:
                raise TypeError("the transport that is wrapped is one for httpx.Client")
            self._asynchronous = httpx.AsyncHTTPTransport()
        options = self._chosen(request)
        if options is None:
            return await self._asynchronous.handle_async_request(request)
        return await drive_async(request, options, self._asynchronous.handle_async_request)

    def close(self) -> None:
        """Closes what it wraps."""
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """Closes what it wraps."""
        if self._asynchronous is not None:
            await self._asynchronous.aclose()

    def _chosen(self, request: httpx.Request) -> Options | None:
        given: Any = request.extensions.get(EXTENSION, self._everything)
        if isinstance(given, Mapping):
            unknown = given.keys() - {"timeout"}
            if unknown:
                raise ValueError(f'extensions["async"] knows "timeout", not {sorted(unknown)}')
            return replace(self._options, timeout_seconds=given.get("timeout"))
        return self._options if given else None
