"""What a run says of itself: how far it is, and what it logs."""

import json
import logging
from collections import deque
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

#: Lines of a job that are kept: the last ones.
LINES_KEPT: Final = 1000
_LINE_CHARACTERS: Final = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class JobProgress:
    """How far a job is."""

    #: From 0 to 100.
    percent: float
    #: Of `total`; None where only the percentage is known.
    current: int | None = None
    total: int | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """What a job logged."""

    time: datetime
    #: As Python calls it: INFO, WARNING, ...
    level: str
    logger: str
    message: str


class Report:
    """What a run has said and nobody has sent yet. Written by the run, read by the keeper's thread.

    Only the newest progress is sent; how often is the keeper's to say.
    """

    def __init__(self) -> None:
        self.progress: JobProgress | None = None
        self.lines: Final[deque[str]] = deque(maxlen=LINES_KEPT)
        # At first: that it runs.
        self._news = True

    def tell(self, progress: JobProgress) -> None:
        """Replaces what was not sent."""
        self.progress = progress
        self._news = True

    def taken(self) -> tuple[JobProgress | None, list[str]] | None:
        """What is to be sent now; None: nothing."""
        if not self._news and not self.lines:
            return None
        # Cleared first: what is said from now on is seen next time.
        self._news = False
        return self.progress, [self.lines.popleft() for _ in range(len(self.lines))]


#: Of the job whose code runs.
REPORT: Final[ContextVar[Report | None]] = ContextVar("respond_async.jobs.report", default=None)


def update_progress(current: float, total: int | None = None, message: str = "") -> None:
    """Says how far the running job is; four times a second the newest is sent to its owner.

    Does nothing where no job runs, so that the function can be called and tested by itself.

    Args:
        current: Percent, or with `total` how many of them.
        total: Of how many.
        message: For people; the owner alone reads it.

    Raises:
        ValueError: It is not between 0 and 100 percent.
    """
    percent = float(current) if total is None else 100.0 * current / total if total else 100.0
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise ValueError(f"a progress of {current} of {total or 100}")
    report = REPORT.get()
    if report is not None:
        count = None if total is None else int(current)
        report.tell(JobProgress(percent=percent, current=count, total=total, message=message))


class JobLog(logging.Handler):
    """Keeps what jobs log for their owners; on the root logger of a worker."""

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record if a job logged it."""
        report = REPORT.get()
        if report is None or record.name.startswith("respond_async."):
            return
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - as Python's own handlers
            self.handleError(record)
            return
        line = [record.created, record.levelname, record.name, message[:_LINE_CHARACTERS]]
        report.lines.append(json.dumps(line))


def progress_json(progress: JobProgress | None) -> str:
    """As it is kept and sent; "" for none."""
    return "" if progress is None else json.dumps(asdict(progress))


def read_line(text: bytes) -> LogLine:
    """A line as it was kept."""
    seconds, level, logger, message = json.loads(text)
    moment = datetime.fromtimestamp(seconds, UTC)
    return LogLine(time=moment, level=level, logger=logger, message=message)
