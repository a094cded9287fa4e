"""The command: checks, starts the servers, then their clients, and stays in front of them."""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from respond_async.dev import preflight
from respond_async.dev.banner import banner
from respond_async.dev.embedded import EmbeddedKafka, EmbeddedRedis
from respond_async.dev.errors import DevError
from respond_async.dev.options import Options
from respond_async.dev.readiness import Readiness

if TYPE_CHECKING:
    from respond_async.dev.service import Service

__all__ = ["main"]

#: Random bytes of a run's own secret; 32 are what RFC 7518 3.2 asks of HS256.
SECRET_BYTES = 48


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the service until it is told to stop, or a child ends by itself.

    Args:
        arguments: The command line without the program's name; default: this process' own.

    Returns:
        The exit code: 0 after Ctrl-C, SIGTERM or SIGHUP; else not 0, after one line on standard
        error that says what was wrong.
    """
    try:
        options = Options.read(sys.argv[1:] if arguments is None else arguments, os.environ)
        preflight.check(options)
        _run(options)
    except DevError as error:
        print(f"respond-async: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return error.exit_code
    except KeyboardInterrupt:
        # Before anything was started; from then on the service handles it.
        return 0
    except BrokenPipeError:
        # Our reader left; what the interpreter still has to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _run(options: Options) -> None:
    # honcho comes with the extra: only now is it known to be there.
    from honcho.printer import Printer

    from respond_async.dev.service import Service, StopAsked

    printer = Printer(sys.stdout, colour="NO_COLOR" not in os.environ)
    with tempfile.TemporaryDirectory(prefix="respond-async-") as directory:
        try:
            with Service(printer) as service:
                _serve(service, options, Path(directory))
        except StopAsked:
            return


def _serve(service: "Service", options: Options, directory: Path) -> None:
    environment = _environment(os.environ)
    redis, kafka = EmbeddedRedis(directory), EmbeddedKafka(directory)
    if options.redis_url is None:
        service.start("redis", redis.command, environment, server=True)
        environment["REDIS_URL"] = redis.url
    if options.kafka_bootstrap_servers is None:
        service.start("kafka", kafka.command, environment, server=True)
        environment.setdefault("KAFKA_CLIENT_PROPERTIES", kafka.client_properties)

    def servers_missing() -> str | None:
        if options.redis_url is None and not redis.answers():
            return "the embedded Redis"
        if options.kafka_bootstrap_servers is None and kafka.bootstrap_servers is None:
            return "the embedded Kafka"
        return None

    service.wait(servers_missing)
    if options.kafka_bootstrap_servers is None:
        environment["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers or ""
    service.start("worker", _worker(options), environment, restarts=True)
    service.start("app", _app(options), environment)
    service.start("flower", _flower(options), environment)
    with Readiness(options, environment) as readiness:
        service.wait(readiness.missing)
    service.show(banner(options, redis=redis.url, kafka=kafka.bootstrap_servers or ""))
    service.wait()


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """What every child gets: ours, with development's defaults where a variable is not set."""
    environment = {**own, "PYTHONUNBUFFERED": "1"}
    if not environment.get("SECRET_KEY"):
        environment["SECRET_KEY"] = secrets.token_urlsafe(SECRET_BYTES)
    if not environment.get("ENVIRONMENT"):
        environment["ENVIRONMENT"] = "development"
    return environment


def _worker(options: Options) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", options.celery, "worker"]


def _app(options: Options) -> list[str]:
    command = [
        sys.executable, "-m", "uvicorn", options.app,
        "--host", options.host, "--port", str(options.port),
    ]  # fmt: skip
    if options.log_config is not None:
        command += ["--log-config", str(options.log_config)]
    return command


def _flower(options: Options) -> list[str]:
    command = [
        sys.executable, "-m", "celery", "-A", options.celery, "flower",
        f"--address={options.flower_host}", f"--port={options.flower_port}",
    ]  # fmt: skip
    if options.flower_conf is not None:
        command.append(f"--conf={options.flower_conf}")
    return command
