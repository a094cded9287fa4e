"""`respond-async tail`: what has ended, as the hub tells it."""

import json
from typing import Annotated, Any

import httpx
import typer

from respond_async.command.asking import Channel, Token, address
from respond_async.command.events import EventsRefused, follow

__all__ = ["tail"]


def tail(
    url: Annotated[str, typer.Argument(help="The hub's, or of the app that has one.")] = (
        "http://localhost:8000"
    ),
    *,
    channel: Channel = None,
    token: Token = None,
    since: Annotated[
        str | None, typer.Option(help="The id of the last message seen: what came after it first.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="End after so many messages.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Follow what ends on a channel, or of a token's user, until Ctrl-C.

    A lost connection is made again and goes on where it ended. Exit code 1: the hub refuses, or
    does not answer at first.
    """
    if bool(channel) == bool(token):
        raise typer.BadParameter("say whose: --channel NAME or --token JWT")
    params = {"channel": channel} if channel else {}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    left = count
    try:
        with httpx.Client() as client:
            for event in follow(
                client, address(url), params=params, headers=headers, since=since, on_lost=_lost
            ):
                if event.kind == "subscribed":
                    _subscribed(event.data)
                elif event.kind == "data":
                    typer.echo(_shown(event.data, as_json=as_json))
                    left = None if left is None else left - 1
                    if left == 0:
                        return
    except (EventsRefused, httpx.TransportError) as error:
        typer.echo(f"respond-async: {url}: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _lost(why: str) -> None:
    typer.echo(f"connection lost ({why}): connecting again", err=True)


def _subscribed(data: dict[str, Any]) -> None:
    if data.get("recovered") is False:
        typer.echo("some messages are no longer kept: ask for your results", err=True)
    else:
        typer.echo(f"listening, at {data.get('id')}", err=True)


def _shown(message: dict[str, Any], *, as_json: bool) -> str:
    """A message as a line: what it says of a task, with its id."""
    told: Any = message.get("data")
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except ValueError:
            told = {"data": told}
    if not isinstance(told, dict):
        told = {"data": told}
    if as_json:
        # What the hub says of the message stands, whatever the message says.
        return json.dumps(told | {name: message.get(name) for name in ("id", "channel")})
    status = told.get("status", message.get("type"))
    rest = " ".join(
        f"{name}={json.dumps(value)}"
        for name, value in told.items()
        if name not in {"task_id", "status"} and value is not None
    )
    return f"{message.get('id', '-')}  {status}  {told.get('task_id', '-')}  {rest}"
