"""The command's options: from its arguments and the environment, checked before anything starts."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from respond_async.dev.errors import OptionError

__all__ = ["Options"]

HIGHEST_PORT = 65535

EPILOG = """\
environment: PORT (default 8000) and FLOWER_PORT (default 5555) choose the ports; REDIS_URL and
KAFKA_BOOTSTRAP_SERVERS name servers to use instead of the embedded ones; every other variable is
passed on to the processes.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run, and where."""

    #: The ASGI application, as `module:attribute`.
    app: str
    #: The Celery application, as `celery -A` takes it.
    celery: str
    #: Path and query of the request that the banner's curl line makes.
    path: str
    #: The address the app listens on.
    host: str
    #: The app's port.
    port: int
    #: The address Flower listens on: it can stop workers, so this machine only unless told so.
    flower_host: str
    #: Flower's port.
    flower_port: int
    #: Flower's configuration file, or None.
    flower_conf: Path | None
    #: uvicorn's logging configuration, or None.
    log_config: Path | None
    #: The Redis to use, or None: an embedded one.
    redis_url: str | None
    #: The Kafka to use, or None: an embedded one.
    kafka_bootstrap_servers: str | None

    @classmethod
    def read(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> "Options":
        """The options of one run. An empty variable counts as none.

        Args:
            arguments: The command line without the program's name.
            environment: The environment variables.

        Returns:
            The checked options.

        Raises:
            OptionError: A port is no port, or both are the same.
            SystemExit: The command line is wrong, or `--help`; argparse has said so.
        """
        given = _parser().parse_args(arguments)
        port = _port("PORT", environment, 8000)
        flower_port = _port("FLOWER_PORT", environment, 5555)
        if port == flower_port:
            raise OptionError(f"PORT and FLOWER_PORT are both {port}: give Flower another one")
        return cls(
            app=given.app,
            celery=given.celery,
            path=given.path,
            host=given.host,
            port=port,
            flower_host=environment.get("FLOWER_ADDRESS") or "127.0.0.1",
            flower_port=flower_port,
            flower_conf=_file("--flower-conf", given.flower_conf, Path("config/flower.py")),
            log_config=_file("--log-config", given.log_config, Path("config/uvicorn.json")),
            redis_url=environment.get("REDIS_URL") or None,
            kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS") or None,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="respond-async dev",
        description="Runs Redis, Kafka, the worker, the app and Flower together, to try them.",
        epilog=EPILOG,
    )
    parser.add_argument("--app", default="app.main:app", help="ASGI app (default: %(default)s)")
    parser.add_argument("--celery", default="tasks", help="Celery app (default: %(default)s)")
    parser.add_argument(
        "--path",
        default="/api/v1/demo/sleep?seconds=2",
        help="what the banner's curl line asks for (default: %(default)s)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the app's address (%(default)s)")
    parser.add_argument(
        "--flower-conf", type=Path, help="Flower's configuration (config/flower.py if it exists)"
    )
    parser.add_argument(
        "--log-config", type=Path, help="uvicorn's logging (config/uvicorn.json if it exists)"
    )
    return parser


def _port(variable: str, environment: Mapping[str, str], default: int) -> int:
    text = environment.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= HIGHEST_PORT):
        raise OptionError(f"{variable}={text} is no port: give a number from 1 to {HIGHEST_PORT}")
    return int(text)


def _file(option: str, given: Path | None, usual: Path) -> Path | None:
    if given is None:
        return usual if usual.is_file() else None
    if not given.is_file():
        raise OptionError(f"{option} {given}: there is no such file")
    return given
