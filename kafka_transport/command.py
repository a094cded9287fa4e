"""``celery -A project kafka``: a plug-in of Celery's command line (entry point `celery.commands`).

Celery loads every plug-in at each of its commands, so this module imports little before it is used.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from celery.bin.base import CeleryCommand, CLIContext
from kombu.exceptions import OperationalError

from kafka_transport.errors import InvalidName, KafkaTransportError, QueueNotFound

if TYPE_CHECKING:
    from celery import Celery

    from kafka_transport.cluster import Cluster
    from kafka_transport.durable import DurableQueues
    from kafka_transport.operations.dead_letters import DeadLetters, Outcome

__all__ = ["kafka"]

#: Seconds between two looks of `--watch` unless it is told otherwise.
WATCH_SECONDS: Final = 2.0

#: Letters that `dlq list` shows unless it is told otherwise.
LIMIT: Final = 50


class _Project(NamedTuple):
    app: "Celery"
    cluster: "Cluster"
    durable: "DurableQueues"

    def queues(self, named: Sequence[str]) -> list[str]:
        """Those named, else all that the project has."""
        from kafka_transport.operations.survey import queues

        own = self.app.amqp.queues
        return list(named) or queues(self.cluster, self.durable, own)


@contextmanager
def _project(context: click.Context) -> Iterator[_Project]:
    """The project's cluster; what fails in it is said in a line, not in a traceback."""
    from kafka_transport.transport import Transport

    client: CLIContext = context.obj
    app: Celery = client.app
    with app.connection_for_write() as connection:
        if not isinstance(connection.transport, Transport):
            raise click.UsageError(
                f"the broker of {app.main or 'this app'} is {connection.as_uri()}: these commands "
                "are for kafka:// of kafka_transport"
            )
        try:
            connection.connect()
            transport = connection.connection
            yield _Project(app, transport.cluster, transport.durable)
        except (OperationalError, QueueNotFound, InvalidName, KafkaTransportError) as error:
            raise click.ClickException(str(error)) from error


def _output(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of everything that shows something."""
    command = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")(command)
    return click.option(
        "--watch", type=click.FloatRange(min=0.1), metavar="[SECONDS]",
        is_flag=False, flag_value=WATCH_SECONDS,
        help="Show it again and again until Ctrl-C; last, or with so many seconds between"
        f" (default: {WATCH_SECONDS:g}).",
    )(command)  # fmt: skip


def _show(
    context: click.Context,
    title: str,
    read: Callable[[_Project], list[dict[str, Any]]],
    *,
    as_json: bool,
    watch: float | None = None,
) -> None:
    from kafka_transport.operations.rendering import Screen

    screen = Screen(title, as_json=as_json, color=not context.obj.no_color, live=watch is not None)
    with _project(context) as project, screen:
        while True:
            screen.show(read(project))
            if watch is None:
                return
            time.sleep(watch)


@click.group(cls=click.Group)
def kafka() -> None:
    """What Kafka holds of this project: topics, lag, offsets, dead letters.

    All but `dlq replay` and `dlq drop` only read, and ask the broker alone: no worker need run.
    """


@kafka.command(cls=CeleryCommand)
@click.argument("queues", nargs=-1)
@_output
@click.pass_context
def topics(
    context: click.Context, *, queues: tuple[str, ...], watch: float | None, as_json: bool
) -> None:
    """Topics of QUEUES, or of all queues and exchanges.

    MESSAGES counts what the topic holds, messages that are done among them: `lag` tells those that
    are not.
    """

    def read(project: _Project) -> list[dict[str, Any]]:
        from kafka_transport.operations import rendering
        from kafka_transport.operations.survey import topics as of

        names = project.queues(queues)
        found = of(project.cluster, project.durable, names, exchanges=not queues)
        return rendering.rows_of_topics(found)

    _show(context, "topics", read, as_json=as_json, watch=watch)


@kafka.command(cls=CeleryCommand)
@click.argument("queues", nargs=-1)
@_output
@click.pass_context
def lag(
    context: click.Context, *, queues: tuple[str, ...], watch: float | None, as_json: bool
) -> None:
    """How far QUEUES, or all queues, are behind, and who consumes them.

    WAITING was given to no worker yet, RUNNING was and is not acked (prefetched tasks too), DELAYED
    is not due. ACKED BEYOND is done, though an older message is not. OLDEST is the age of the
    oldest message that is not done.
    """

    def read(project: _Project) -> list[dict[str, Any]]:
        from kafka_transport.operations import rendering
        from kafka_transport.operations.survey import lag as of

        return rendering.rows_of_lag(of(project.cluster, project.durable, project.queues(queues)))

    _show(context, "lag", read, as_json=as_json, watch=watch)


@kafka.command(cls=CeleryCommand)
@click.argument("queues", nargs=-1)
@_output
@click.pass_context
def offsets(
    context: click.Context, *, queues: tuple[str, ...], watch: float | None, as_json: bool
) -> None:
    """Each partition of QUEUES, or of all queues.

    A partition that is HELD BACK ran `max_ahead` offsets beyond its oldest unfinished message:
    nothing more of it is delivered until that one is done.
    """

    def read(project: _Project) -> list[dict[str, Any]]:
        from kafka_transport.operations import rendering
        from kafka_transport.operations.survey import offsets as of

        found = of(project.cluster, project.durable, project.queues(queues))
        # Of a queue's 28 delay partitions most are never used.
        return rendering.rows_of_offsets(
            [each for each in found if as_json or each.end or not each.topic.endswith(".delay")]
        )

    _show(context, "offsets", read, as_json=as_json, watch=watch)


@kafka.group(cls=click.Group)
def dlq() -> None:
    """Dead letters: what was rejected, never acked, or no message at all."""


@dlq.command("list", cls=CeleryCommand)
@click.argument("queue")
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True)
@click.option("--offset", "skip", type=click.IntRange(min=0), default=0, help="Leave out so many.")
@click.option("--show-body", is_flag=True, help="Also the body, with the task's arguments.")
@_output
@click.pass_context
def list_letters(
    context: click.Context,
    *,
    queue: str,
    limit: int,
    skip: int,
    show_body: bool,
    watch: float | None,
    as_json: bool,
) -> None:
    """The dead letters of QUEUE that were neither replayed nor dropped, oldest first.

    PLACE names one letter, as `--id` of replay and drop takes it.
    """

    def read(project: _Project) -> list[dict[str, Any]]:
        letters = _letters(project, queue).letters()
        return [letter.shown(body=show_body) for letter in islice(letters, skip, skip + limit)]

    _show(context, f"dead letters of {queue}", read, as_json=as_json, watch=watch)


def _chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")(command)
    command = click.option("--all", "everything", is_flag=True, help="All there are.")(command)
    return click.option(
        "--id", "ids", multiple=True, metavar="ID",
        help="A task's id, or a place as `list` shows it; may be given several times.",
    )(command)  # fmt: skip


@dlq.command(cls=CeleryCommand)
@click.argument("queue")
@_chosen
@click.pass_context
def replay(
    context: click.Context,
    *,
    queue: str,
    ids: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Publish dead letters of QUEUE to it again, then take them off the list.

    At least once: each message is in its queue, acknowledged by the broker, before its letter
    counts as replayed. Killed in between, up to 100 messages are published again by the next
    replay, so their tasks must bear to run twice. Running it twice otherwise changes nothing. A
    message begins anew: its deliveries are counted from zero.
    """
    only = _selection(ids, everything=everything)
    with _project(context) as project:
        outcome = _letters(project, queue).replay(only)
    _tell(context, "replayed", outcome, as_json=as_json)


@dlq.command(cls=CeleryCommand)
@click.argument("queue")
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def drop(
    context: click.Context,
    *,
    queue: str,
    ids: tuple[str, ...],
    everything: bool,
    as_json: bool,
    yes: bool,
) -> None:
    """Forget dead letters of QUEUE for ever.

    What was dropped is off the list at once. Kafka deletes it when everything older in its
    partition is replayed or dropped too.
    """
    only = _selection(ids, everything=everything)
    if not yes:
        what = "all dead letters" if only is None else f"{len(only)} dead letters"
        click.confirm(f"Drop {what} of {queue} for ever?", abort=True)
    with _project(context) as project:
        outcome = _letters(project, queue).drop(only)
    _tell(context, "dropped", outcome, as_json=as_json)


def _letters(project: _Project, queue: str) -> "DeadLetters":
    from kafka_transport.operations.dead_letters import DeadLetters

    return DeadLetters(project.cluster, project.durable, queue)


def _selection(ids: tuple[str, ...], *, everything: bool) -> frozenset[str] | None:
    if everything == bool(ids):
        raise click.UsageError("say which: --id ID, or --all")
    return None if everything else frozenset(ids)


def _tell(context: click.Context, verb: str, outcome: "Outcome", *, as_json: bool) -> None:
    import json

    if as_json:
        click.echo(json.dumps({verb: outcome.handled, "missing": list(outcome.missing)}))
    else:
        context.obj.echo(f"{outcome.handled} {verb}")
        if outcome.missing:
            context.obj.error(f"no such dead letter: {', '.join(outcome.missing)}")
    if outcome.missing:
        context.exit(1)
