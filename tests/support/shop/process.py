"""A worker of the shop as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from celery import Celery

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]


class ShopWorker:
    """Starts on enter, answering pings; ends warmly on exit."""

    def __init__(
        self,
        directory: Path,
        env: Mapping[str, str],
        *,
        pool: str = "threads",
        concurrency: int = 4,
        options: tuple[str, ...] = (),
        name: str = "shop",
    ) -> None:
        if ":" in pool:
            # Celery's way to name a pool of one's own for its -P.
            env = {**env, "CELERY_CUSTOM_WORKER_POOL": pool}
            pool = "custom"
        self.name = f"{name}@{os.getpid()}"
        self.marks = directory / "marks"
        self.marks.touch()
        self.log = directory / f"{name}.log"
        self.command = [
            sys.executable, "-m", "celery", "-A", "tests.support.shop.worker", "worker",
            f"--pool={pool}", f"--concurrency={concurrency}", "--loglevel=INFO", "-E",
            "--without-mingle", "--without-gossip", "-n", self.name, *options,
        ]  # fmt: skip
        self.env = {**os.environ, **env, "SHOP_MARKS": str(self.marks), "PYTHONPATH": str(ROOT)}
        self.broker = env.get("SHOP_BROKER", env["REDIS_URL"])
        self.process: subprocess.Popen[bytes]

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            with Celery(broker=self.broker) as celery:
                wait_until(lambda: self._answers(celery), within=90, what=f"worker: see {self.log}")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def marked(self, what: str) -> list[int]:
        """The process ids that marked `what`."""
        lines = (line.split() for line in self.marks.read_text().splitlines())
        return [int(pid) for mark, pid in lines if mark == what]

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
        self.process.send_signal(how)
        return self.process.wait(within)

    def _answers(self, celery: Celery) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended: {self.output()}")
        return bool(celery.control.ping(destination=[self.name], timeout=0.5))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if error is not None:
            print(self.output()[-8000:])
