"""How much a process has worked, which on a shared machine its wall clock does not tell."""

import re
import subprocess
from pathlib import Path
from typing import Final, Protocol

import psutil

_TOTALS: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)
_DUMP_SECONDS: Final = 60.0


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


class CpuTime:
    """Seconds, of all threads. Where neighbours work too single turns differ by 30 % and more."""

    unit, scale, patience, in_time = "us", 1e6, 60.0, True

    def of(self, command: list[str]) -> list[str]:
        """See `Meter`."""
        return command

    def used(self, process: psutil.Process) -> float:
        """See `Meter`."""
        return float(sum(process.cpu_times()[:2]))


class Instructions:
    """Those of all threads, the kernel's apart: two turns differ by one per cent.

    By valgrind's callgrind (Debian: `valgrind`), which makes a process some fifty times as slow, so that
    more of them are what it does anyway in that time (some 8 per cent).

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
