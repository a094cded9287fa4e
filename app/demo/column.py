"""What one pass over a column's cells tells of it: type, counts, extremes and mean.

The rules, cell by cell, after white space around it is taken off:

- missing: an empty cell, or NA, N/A, NULL, NaN or None in any case;
- boolean: true, false, yes or no in any case;
- integer: at most 18 decimal digits, with or without a sign, no leading zeros (00420 is a
  postcode, not a number);
- number: an integer, or a decimal with a point, an exponent or both, finite as a double;
- date: YYYY-MM-DD; datetime: a date, or one with a time and perhaps an offset (ISO 8601);
- text: anything.

A column's type is the first of boolean, integer, number, date, datetime and text that all its
cells have, those that are missing left aside; `empty` if all are missing. `min` and `max` are in
the type's own order: false before true, numbers by value, dates in time (UTC where there is no
offset) and as they are written, text by code point and cut to 100 characters. `mean` is that of
numbers, and for booleans the share of true; null for the rest, and where the sum is too large for
a double.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

from pydantic import BaseModel, Field

__all__ = ["Column", "ColumnProfile", "ColumnType", "Value"]

ColumnType = Literal["empty", "boolean", "integer", "number", "date", "datetime", "text"]
Value = bool | int | float | str

_MISSING = frozenset({"", "na", "n/a", "null", "nan", "none"})
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    _DATE.pattern
    + r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_TEXT_CHARACTERS = 100


class ColumnProfile(BaseModel):
    """One column of a report."""

    name: str = Field(description="As in the header; `column N` where that is empty")
    type: ColumnType
    count: int = Field(description="Cells that are not missing")
    missing: int = Field(description="Cells that are missing")
    min: Value | None
    max: Value | None
    mean: float | None


class Column:
    """The running profile of one column; it holds no cells, however many it has seen."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._missing = 0
        #: The readings that all cells so far allow; text is always one, so the last.
        self._readings: list[_Reading] = [_Booleans(), _Numbers(), _Times(), _Texts()]

    def add(self, cells: Sequence[str]) -> None:
        """Takes in the cells of some more rows."""
        present = [text for cell in cells if (text := cell.strip()).lower() not in _MISSING]
        self._missing += len(cells) - len(present)
        if present:
            self._count += len(present)
            self._readings = [reading for reading in self._readings if reading.take(present)]

    def profile(self) -> ColumnProfile:
        """The column as it is after the cells taken in so far."""
        kind: ColumnType = "empty"
        least = most = mean = None
        if self._count:
            reading = self._readings[0]
            kind, mean = reading.type, reading.mean(self._count)
            least, most = reading.extremes()
        return ColumnProfile(
            name=self._name,
            type=kind,
            count=self._count,
            missing=self._missing,
            min=least,
            max=most,
            mean=mean,
        )


class _Reading(Protocol):
    """A column read as one family of types."""

    @property
    def type(self) -> ColumnType: ...

    def take(self, cells: list[str]) -> bool:
        """False if a cell is not of the family: the reading is then void."""

    def extremes(self) -> tuple[Value, Value]: ...

    def mean(self, count: int) -> float | None: ...


class _Booleans:
    type: ColumnType = "boolean"

    def __init__(self) -> None:
        self._true = 0
        self._seen: set[bool] = set()

    def take(self, cells: list[str]) -> bool:
        values = [_BOOLEANS.get(cell.lower()) for cell in cells]
        if None in values:
            return False
        self._true += values.count(True)
        self._seen.update(value for value in values if value is not None)
        return True

    def extremes(self) -> tuple[Value, Value]:
        return min(self._seen), max(self._seen)

    def mean(self, count: int) -> float:
        return self._true / count


class _Numbers:
    """Integers, exactly, until a cell is another number; doubles from there on."""

    def __init__(self) -> None:
        self.type: ColumnType = "integer"
        self._least: float = math.inf
        self._most: float = -math.inf
        #: None: too large for a double.
        self._sum: float | None = 0

    def take(self, cells: list[str]) -> bool:
        values: Sequence[float]
        if self.type == "integer" and all(map(_INTEGER.fullmatch, cells)):
            values = list(map(int, cells))
        else:
            self.type = "number"
            if not all(map(_NUMBER.fullmatch, cells)):
                return False
            values = list(map(float, cells))
            if not all(map(math.isfinite, values)):
                return False
        self._least = min(self._least, *values)
        self._most = max(self._most, *values)
        self._sum = self._added(values)
        return True

    def _added(self, values: Sequence[float]) -> float | None:
        if self._sum is None:
            return None
        if self.type == "integer":
            return self._sum + sum(values)
        try:
            return math.fsum((self._sum, *values))
        except OverflowError:
            return None

    def extremes(self) -> tuple[Value, Value]:
        if self.type == "integer":
            return self._least, self._most
        return float(self._least), float(self._most)

    def mean(self, count: int) -> float | None:
        return None if self._sum is None else self._sum / count


class _Times:
    """Dates, until a cell has a time."""

    def __init__(self) -> None:
        self.type: ColumnType = "date"
        self._extremes: list[tuple[datetime, str]] = []

    def take(self, cells: list[str]) -> bool:
        if self.type == "date" and not all(map(_DATE.fullmatch, cells)):
            self.type = "datetime"
        if self.type == "datetime" and not all(map(_DATETIME.fullmatch, cells)):
            return False
        try:
            moments = [(_moment(cell), cell) for cell in cells]
        except ValueError:
            return False
        moments += self._extremes
        self._extremes = [min(moments), max(moments)]
        return True

    def extremes(self) -> tuple[Value, Value]:
        (_, least), (_, most) = self._extremes
        return least, most

    def mean(self, count: int) -> None:  # noqa: ARG002 - the protocol's
        return None


def _moment(cell: str) -> datetime:
    moment = datetime.fromisoformat(cell)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Texts:
    type: ColumnType = "text"

    def __init__(self) -> None:
        self._extremes: list[str] = []

    def take(self, cells: list[str]) -> bool:
        # What is least stays least when it is cut, so only the cut is kept.
        known = [*self._extremes, *cells]
        self._extremes = [end(known)[:_TEXT_CHARACTERS] for end in (min, max)]
        return True

    def extremes(self) -> tuple[Value, Value]:
        least, most = self._extremes
        return least, most

    def mean(self, count: int) -> None:  # noqa: ARG002 - the protocol's
        return None
