"""The command line: its commands and what is common to their help."""

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from respond_async.command.bench import bench
from respond_async.command.doctor import doctor
from respond_async.command.send import send
from respond_async.command.tail import tail

__all__ = ["line"]

line = typer.Typer(
    no_args_is_help=True,
    # A traceback with local variables would show tokens.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: The command reads its own arguments.
_OWN_ARGUMENTS = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"respond-async {version_of('respond-async')}")
        raise typer.Exit


@line.callback()
def _respond_async(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say the version.", is_eager=True,
            callback=lambda value: _version(wanted=value),
        ),
    ] = False,
) -> None:  # fmt: skip
    """Asynchronous requests for FastAPI over Celery and Kafka.

    Queues and dead letters: `celery -A PROJECT kafka --help`.
    """


@line.command(context_settings=_OWN_ARGUMENTS)
def dev(context: typer.Context) -> None:
    """Run Redis, Kafka, worker, app and Flower together, to try and develop (--help: options)."""
    from respond_async.dev.command import main

    raise typer.Exit(main(context.args))


@line.command(context_settings=_OWN_ARGUMENTS)
def probe(context: typer.Context) -> None:
    """Tell by the exit status whether a process is healthy: `probe worker`, or `probe URL`."""
    from respond_async.probe import main

    raise typer.Exit(main(context.args))


line.command()(doctor)
line.command()(send)
line.command()(tail)
line.command()(bench)
