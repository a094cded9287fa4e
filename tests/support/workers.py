"""Celery workers of a small project, as processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_until

CELERY = [sys.executable, "-m", "celery"]


class Worker:
    """`celery -A <app> worker ...` in `directory`; its output goes to a file beside it."""

    def __init__(
        self,
        directory: Path,
        app: str,
        *options: str,
        name: str = "w1",
        environment: Mapping[str, str] | None = None,
        inherit: bool = True,
        log: Path | None = None,
    ) -> None:
        self.directory = directory
        self.app = app
        self.name = name
        self.options = options
        self.environment = {**(os.environ if inherit else {}), **(environment or {})}
        self.log = log or directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *CELERY,
                    "-A",
                    self.app,
                    "worker",
                    "-n",
                    f"{self.name}@test",
                    "-l",
                    "INFO",
                    *self.options,
                ],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_for("ready.")
        return self

    def wait_for(self, text: str, within: float = 30) -> None:
        wait_until(lambda: text in self.output(), within=within, what=f"{text!r} in {self.log}")

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """kill -9 of the worker and its pool."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reap()

    def stop(self, within: float = 30) -> int:
        """Warm shutdown; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within)
        self.process = None
        return code

    def _reap(self) -> None:
        if self.process is not None:
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            # Otherwise it would run on beside the tests that follow.
            self.kill()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()


def celery(directory: Path, app: str, *command: str, timeout: float = 30) -> str:
    """The output of `celery -A <app> <command>`; fails with it if the command fails."""
    done = subprocess.run(
        [*CELERY, "-A", app, *command],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
