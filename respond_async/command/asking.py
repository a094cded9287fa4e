"""What the commands that ask a service share: who asks, with what, and where."""

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer

__all__ = ["Channel", "Data", "Headers", "Token", "address", "body_of", "headers_of"]

Headers = Annotated[
    list[str] | None, typer.Option("-H", "--header", help="NAME: VALUE; may be given often.")
]
Data = Annotated[
    str | None,
    typer.Option("-d", "--data", help="The body: text, @FILE, or @- for standard input."),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="RESPOND_ASYNC_TOKEN",
        help="A Bearer token (JWT). Others see a command's arguments, not its environment.",
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        envvar="RESPOND_ASYNC_CHANNEL",
        help="An anonymous channel: 16 to 128 of A-Z a-z 0-9 _ -; a secret.",
    ),
]

#: The header that asks for an asynchronous answer.
ASYNC_HEADER: Final = "X-Async-Request"


def address(url: str) -> str:
    """The URL; without a scheme it is of http.

    Raises:
        typer.BadParameter: It is none.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(full)
    except httpx.InvalidURL as wrong:
        raise typer.BadParameter(f"{url!r} is no URL: {wrong}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise typer.BadParameter(f"{url!r} is no URL of http:// or https://")
    return full


def headers_of(
    given: list[str] | None, token: str | None, channel: str | None, body: bytes | None
) -> dict[str, str]:
    """The headers of a request; a body that is JSON is said to be.

    Raises:
        typer.BadParameter: One is not `NAME: VALUE`.
    """
    headers: dict[str, str] = {}
    for one in given or []:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter("a header is NAME: VALUE", param_hint="-H")
        headers[name.strip()] = value.strip()
    named = {name.lower() for name in headers}
    if body is not None and "content-type" not in named:
        headers["Content-Type"] = _type_of(body)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if channel:
        headers[ASYNC_HEADER] = channel
    return headers


def body_of(data: str | None) -> bytes | None:
    """The body that `-d` names.

    Raises:
        typer.BadParameter: The file cannot be read.
    """
    if data is None or not data.startswith("@"):
        return None if data is None else data.encode()
    if data == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{data[1:]}: {error.strerror}", param_hint="-d") from None


def _type_of(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "application/octet-stream"
    return "application/json"
