"""Moments as Redis keeps them: whole microseconds since the epoch.

A double, which Redis keeps scores in, is exact up to 2^53: until the year 2255.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["microseconds_of", "moment_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_of(moment: datetime) -> int:
    """Since the epoch; what is below a microsecond is nothing."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)
