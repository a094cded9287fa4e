"""The upstream suites, and one run of a part of one against one broker."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import kafka_transport
from tests.upstream import plugin
from tests.upstream.sources import ROOT, tests_of
from tests.upstream.verdict import Outcome

__all__ = ["BROKERS", "SUITES", "Run", "Servers", "Suite"]

BROKERS: Final = ("redis", "kafka")

#: As in both projects' own pytest configuration.
OPTIONS: Final = (
    "-o", "addopts=",
    "-o", "python_classes=test_*",
    "-o", "markers=flaky timeout amqp env",
    "-p", "no:cacheprovider",
    "-p", plugin.__name__,
    "--timeout", "120",
    "-ra", "--tb=short",
)  # fmt: skip

#: `celery -b kafka://... worker`, as one of Celery's tests starts it, has no project that could
#: import the transport.
SITE: Final = "import kafka_transport\n"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the local servers listen; each run empties what it uses."""

    bootstrap_servers: str
    #: A Redis for each run's results.
    results: dict[str, int]
    #: The Redis that is a broker.
    broker: int

    def broker_url(self, broker: str) -> str:
        if broker == "kafka":
            return f"{kafka_transport.SCHEME}://{self.bootstrap_servers}"
        return f"redis://127.0.0.1:{self.broker}/0"


@dataclass(frozen=True, slots=True)
class Suite:
    """Files of one project's tests, each run in a process of its own."""

    package: str
    #: The longest that one file may take, in seconds.
    within: float
    #: Files of ours instead of the project's `t/integration/test_*.py`.
    own: tuple[Path, ...] = ()
    #: Files that need what is not there on any broker.
    left_out: tuple[str, ...] = ()

    def prepare(self, directory: Path) -> None:
        """A copy of the project's tests, since they write beside themselves."""
        shutil.copytree(tests_of(self.package) / "t", directory / "t")
        (directory / "sitecustomize.py").write_text(SITE)
        for file in self.own:
            shutil.copy(file, directory / "t" / "integration" / f"test_{file.name}")

    def files(self) -> list[str]:
        if self.own:
            return [f"t/integration/test_{file.name}" for file in self.own]
        found = (tests_of(self.package) / "t" / "integration").glob("test_*.py")
        return sorted(f"t/integration/{f.name}" for f in found if f.name not in self.left_out)


SUITES: Final = {
    # The two left out are of result backends alone: Azure's Blob Storage and SQLAlchemy.
    "celery": Suite(
        "celery", within=1800, left_out=("test_backend.py", "test_database_backend.py")
    ),
    "kombu": Suite("kombu", within=300, own=(Path(__file__).with_name("kombu_functional.py"),)),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One file, or a few tests of it, against one broker."""

    suite: Suite
    broker: str
    servers: Servers
    directory: Path
    pool: str = "prefork"
    _started: list[int] = field(default_factory=list)

    def outcomes(self, tests: Sequence[str]) -> dict[str, Outcome]:
        """Runs `tests`, files or node ids; empty where they cannot be imported."""
        name = tests[0].rpartition("/")[2].partition("::")[0].removesuffix(".py")
        lines = self.directory / f"{name}.outcomes"
        self._configure(name)
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self._pytest(*tests),
                cwd=self.directory,
                env=self._environment(lines),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._started.append(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.suite.within)
            self.end()
            process.wait()
        if not lines.exists():
            return {}
        entries = map(json.loads, lines.read_text().splitlines())
        return {entry["test"]: Outcome(entry["outcome"]) for entry in entries}

    def end(self) -> None:
        """Kills the tests that run, and what they started and left: it is of the same session."""
        while self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._started.pop(), signal.SIGKILL)

    def _configure(self, name: str) -> None:
        """Celery's conftest adds this file to the configuration of its app."""
        if self.broker != "kafka":
            return
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        options = {"topic_prefix": f"{unique}.", "group_id": unique}
        config = {"broker_transport_options": options}
        (self.directory / "integration-tests-config.json").write_text(json.dumps(config))

    def _pytest(self, *arguments: str) -> list[str]:
        rootdir = ("--rootdir", str(self.directory), "-c", os.devnull)
        return [sys.executable, "-m", "pytest", *rootdir, *OPTIONS, *arguments]

    def _environment(self, outcomes: Path) -> dict[str, str]:
        results = self.servers.results[self.broker]
        return {
            **os.environ,
            "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            "TEST_BROKER": self.servers.broker_url(self.broker),
            "TEST_BACKEND": f"redis://127.0.0.1:{results}/0",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(results),
            "WORKER_LOGLEVEL": "INFO",
            plugin.OUTCOMES: str(outcomes),
            plugin.POOL: self.pool,
        }
