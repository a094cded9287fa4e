"""`respond-async doctor`: what is wrong with a service, where, and what to do."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from respond_async.command.asking import address
from respond_async.command.findings import Finding, Level

__all__ = ["doctor"]

_WORDS: Final[dict[Level, tuple[str, str]]] = {
    "ok": ("ok  ", "green"),
    "warning": ("warn", "yellow"),
    "failure": ("FAIL", "bold red"),
}


def doctor(
    *,
    project: Annotated[
        str, typer.Option("-A", "--celery", help="The Celery application, as `celery -A` takes it.")
    ] = "tasks",
    url: Annotated[
        str | None,
        typer.Option(help="The app's address; default: port PORT or 8000 of this host."),
    ] = None,
    hub: Annotated[
        str | None, typer.Option(help="The hub's, where it is a process of its own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at settings, Redis, Kafka, workers, app and hub, and say what to do.

    Settings are those of this process's environment, so run it where, and as, the service runs. It
    changes nothing: what it writes to Redis to see that this works ends within seconds (a test
    message of the hub by HUB_HISTORY_SECONDS).

    Exit code 1 if anything keeps requests from being answered; warnings do not.
    """
    # Clients tell in the log, again and again, what is told here once.
    logging.disable(logging.CRITICAL)
    app = address(url or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}")
    found = _looked_at(project, app, None if hub is None else address(hub), named=url is not None)
    failures = sum(one.level == "failure" for one in found)
    if as_json:
        report = {"ok": not failures, "findings": [asdict(one) for one in found]}
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(found)
    raise typer.Exit(int(failures > 0))


def _looked_at(project: str, app: str, hub: str | None, *, named: bool) -> list[Finding]:
    # What can be broken is imported late, so that --help works all the same.
    from respond_async.command.look_at_broker import look_at_broker
    from respond_async.command.look_at_redis import look_at_redis, look_at_worker
    from respond_async.command.look_at_service import look_at_app, look_at_hub
    from respond_async.command.look_at_settings import look_at_settings, read_settings

    settings, found = read_settings()
    if settings is None:
        # Where Redis and Kafka are stands in them.
        return found
    looks: dict[str, Callable[[], list[Finding]]] = {
        "settings": partial(look_at_settings, settings),
        "redis": partial(look_at_redis, settings),
        f"celery {project}": partial(look_at_broker, project, settings),
        "worker": partial(look_at_worker, settings),
        "app": partial(look_at_app, app, named=named),
        "hub": partial(look_at_hub, hub, app, settings, app_named=named),
    }
    for subject, look in looks.items():
        try:
            found += look()
        except Exception as error:  # noqa: BLE001 - one that cannot be looked at hides no other
            # Not its text: what nobody expected may show a URL with its password.
            what = f"could not be looked at: {type(error).__name__}"
            found.append(
                Finding(subject, "failure", what, "see that its URL and options are right")
            )
    return found


def _show(found: Sequence[Finding]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for one in found:
        word, style = _WORDS[one.level]
        console.print(Text.assemble((word, style), f"  {one.subject}: {one.what}"))
        if one.remedy:
            console.print(Text(f"      -> {one.remedy}", style="dim"))
    counts = {level: sum(one.level == level for one in found) for level in _WORDS}
    console.print(
        f"failed: {counts['failure']}, warnings: {counts['warning']}, well: {counts['ok']}"
    )
