"""How much a process has worked, which on a shared machine its wall clock does not tell."""

import re
import subprocess
import time
from pathlib import Path
from typing import Final, Protocol

import psutil

_TOTALS: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)
_DUMP_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 5.0


class Meter(Protocol):
    """One way to tell."""

    #: What is shown, and how many of them are one of `used`.
    unit: str
    scale: float
    #: How long a process may take to start.
    patience: float
    #: Whether the process is as fast as without it.
    in_time: bool

    def of(self, command: list[str]) -> list[str]:
        """The command that runs another so that it can be measured."""

    def used(self, process: psutil.Process) -> float:
        """How much it has worked so far."""

    def idle(self, process: psutil.Process) -> float:
        """How much it works in a second with nothing to do, as it is now."""


class CpuTime:
    """Seconds, of all threads. Where neighbours work too single turns differ by 30 % and more."""

    unit, scale, patience, in_time = "us", 1e6, 60.0, True

    def of(self, command: list[str]) -> list[str]:
        """See `Meter`."""
        return command

    def used(self, process: psutil.Process) -> float:
        """See `Meter`."""
        return float(sum(process.cpu_times()[:2]))

    def idle(self, _: psutil.Process) -> float:
        """Not worth the measuring: a thousandth."""
        return 0.0


class Instructions:
    """Those of all threads, the kernel's apart: two turns differ by one per cent.

    By valgrind's callgrind (Debian: `valgrind`), which makes a process some fifty times as slow.

    Args:
        directory: For its files.
    """

    unit, scale, patience, in_time = "thousand instructions", 1e-3, 600.0, False

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._used: Final[dict[int, int]] = {}

    def of(self, command: list[str]) -> list[str]:
        """See `Meter`."""
        file = f"--callgrind-out-file={self._directory}/callgrind.%p"
        return ["valgrind", "--quiet", "--tool=callgrind", file, *command]

    def used(self, process: psutil.Process) -> float:
        """See `Meter`."""
        pid = process.pid
        # Writes what was counted since the last time.
        subprocess.run(
            ["callgrind_control", "--dump", str(pid)],
            check=True, capture_output=True, timeout=_DUMP_SECONDS,
        )  # fmt: skip
        for file in self._directory.glob(f"callgrind.{pid}.*"):
            counted = sum(int(found) for found in _TOTALS.findall(file.read_text()))
            self._used[pid] = self._used.get(pid, 0) + counted
            file.unlink()
        return self._used[pid]

    def idle(self, process: psutil.Process) -> float:
        """See `Meter`; so slow a process has much of it for each request."""
        before, begun = self.used(process), time.perf_counter()
        time.sleep(_IDLE_SECONDS)
        return (self.used(process) - before) / (time.perf_counter() - begun)


class Work:
    """What a process works for something, beside what it does anyway."""

    def __init__(self, meter: Meter, process: psutil.Process) -> None:
        self._meter: Final = meter
        self._process: Final = process
        self._idle: Final = meter.idle(process)

    def begin(self) -> None:
        """From now on it counts."""
        self._before, self._begun = self._meter.used(self._process), time.perf_counter()

    def done(self) -> float:
        """How much it was since `begin`."""
        took = time.perf_counter() - self._begun
        return self._meter.used(self._process) - self._before - self._idle * took
