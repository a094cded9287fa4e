"""`python -m respond_async.dev` as a process under test, and what it leaves behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.support.ports import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
MARK = "RESPOND_ASYNC_TEST_RUN"
BANNER_END = "Ctrl-C ends everything."
#: What this machine's environment may say and a test must not depend on.
CLEARED = ("REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "SECRET_KEY", "ENVIRONMENT", "KAFKA_CLIENT_PROPERTIES")  # fmt: skip


class DevCommand:
    """One run: starts on enter, and on exit kills what is left of it."""

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ports: tuple[int, int] | None = None,
        program: Sequence[str] = ("-m", "respond_async.dev"),
    ) -> None:
        self.port, self.flower_port = ports or (free_port(), free_port())
        self.cwd = cwd or ROOT
        self.command = [sys.executable, *program, *arguments]
        self.mark = uuid.uuid4().hex
        run = directory / f"run-{self.mark[:8]}"
        self.temporary = run / "tmp"
        self.temporary.mkdir(parents=True)
        self.out, self.err = run / "stdout", run / "stderr"
        self.env = {name: value for name, value in os.environ.items() if name not in CLEARED}
        self.env |= {
            MARK: self.mark,
            "PORT": str(self.port),
            "FLOWER_PORT": str(self.flower_port),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.env, stdout=out, stderr=err
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if error is not None:
            print(self.output)
            print(self.err.read_text(errors="replace"))

    @property
    def output(self) -> str:
        return self.out.read_text(errors="replace")

    @property
    def errors(self) -> list[str]:
        return self.err.read_text(errors="replace").splitlines()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    def ready(self, within: float = 60) -> Self:
        self.wait_for(re.escape(BANNER_END), within=within)
        return self

    def wait_for(self, pattern: str, within: float = 30, times: int = 1) -> str:
        """The text of the last of `times` matches of a regular expression in the output."""

        def found() -> str | None:
            matches = list(re.finditer(pattern, self.output))
            if len(matches) >= times:
                return matches[times - 1].group()
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before {pattern!r}")
            return None

        text = wait_until(found, within=within, what=f"{pattern!r} in the output")
        assert text is not None
        return text

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, within: float = 30) -> int:
        """Its exit code."""
        return self.process.wait(within)

    def child(self, name: str) -> psutil.Process:
        """The process that was last started under that name."""
        started = rf"system +\| {name} started \(pid (\d+)\)"
        self.wait_for(started)
        return psutil.Process(int(re.findall(started, self.output)[-1]))

    def family(self) -> list[psutil.Process]:
        """Every process alive that this run started, whoever its parent is by now."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return (
                process.environ().get(MARK) == self.mark
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def assert_nothing_survives(self, within: float = 0) -> None:
        try:
            wait_until(lambda: not self.family(), within=within, what="an end of every process")
        except AssertionError:
            left = [str(process) for process in self.family()]
            raise AssertionError(f"these outlive the run by {within:g} s: {left}") from None
