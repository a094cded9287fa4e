"""When a schedule is due: pure, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from respond_async.jobs.errors import TaskError

_FIELDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """The times of a schedule.

    A cron expression has five fields, as Debian's cron takes them, in a time zone. Where clocks go
    forward, what was due in the hour that is left out is due right after it; where they go back, what
    is due at a fixed time is due once, and what is due every so many minutes goes on.

    Raises:
        TaskError: `invalid_schedule`.
    """

    #: "" where `every` is given.
    cron: str = ""
    #: Seconds between two times; 0 where `cron` is given.
    every: float = 0.0
    #: Of `cron`, as IANA calls it.
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if bool(self.cron) == bool(self.every):
            raise TaskError("invalid_schedule", "A schedule has either cron or every.")
        if self.every and self.every < 1:
            raise TaskError("invalid_schedule", "every is one second at least.")
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            said = f'There is no time zone "{self.timezone}": one is called Europe/Berlin, or UTC.'
            raise TaskError("invalid_schedule", said, {"timezone": self.timezone}) from None
        if self.cron:
            self._checked(zone)

    def after(self, moment: datetime, last: datetime | None = None) -> datetime:
        """The first time after a moment.

        Args:
            moment: With a time zone.
            last: A time of this schedule; those of `every` follow it.
        """
        if self.cron:
            return self._next(moment.astimezone(ZoneInfo(self.timezone)))
        every = timedelta(seconds=self.every)
        last = last or moment
        return last + every * max(1, (moment - last) // every + 1)

    def fields(self) -> Mapping[str, str]:
        """As they are kept."""
        return {"cron": self.cron, "every": str(self.every), "timezone": self.timezone}

    def _next(self, moment: datetime) -> datetime:
        return next(CronSim(self.cron, moment)).astimezone(UTC)

    def _checked(self, zone: ZoneInfo) -> None:
        details = {"cron": self.cron}
        if len(self.cron.split()) != _FIELDS:
            said = (
                f'"{self.cron}" has not five fields: minute, hour, day of month, month and day of'
                ' week, as in "*/5 * * * *".'
            )
            raise TaskError("invalid_schedule", said, details)
        try:
            self._next(datetime(2026, 1, 1, tzinfo=zone))
        except CronSimError as error:
            said = f'"{self.cron}" is no cron expression: {str(error).lower()}.'
            raise TaskError("invalid_schedule", said, details) from None
        except StopIteration:
            said = f'"{self.cron}" is never due.'
            raise TaskError("invalid_schedule", said, details) from None
