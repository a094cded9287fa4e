"""A profile of a CSV file, made in one pass and in bounded memory.

The first record is the header. A row that is shorter than it has the rest of its cells missing;
cells beyond it are left out; both make the row ragged, and ragged rows are counted. What a
column's profile says is defined in `app.demo.column`, what counts as CSV in
`app.demo.csv_records`.
"""

import csv
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pydantic import BaseModel, Field

from app.demo.column import Column, ColumnProfile
from app.demo.csv_records import CsvRejected, records

__all__ = ["MAX_COLUMNS", "CsvProfile", "profile"]

MAX_COLUMNS = 10_000
#: Rows are taken in together, column by column, which is some times faster than cell by cell.
_BATCH_ROWS = 1024
_BATCH_CHARACTERS = 4 * 1024 * 1024


class CsvProfile(BaseModel):
    """The report on one file."""

    delimiter: str
    rows: int = Field(description="Records below the header, empty lines left out")
    ragged_rows: int = Field(description="Rows with more or fewer cells than the header")
    columns: list[ColumnProfile]

    def as_csv(self) -> str:
        """The columns as CSV (RFC 4180): one line for each, a missing value as an empty cell."""
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, fieldnames=list(ColumnProfile.model_fields))
        writer.writeheader()
        writer.writerows(
            {name: _written(value) for name, value in column.model_dump().items()}
            for column in self.columns
        )
        return out.getvalue()


def _written(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def profile(file: BinaryIO, batch_read: Callable[[int], object] | None = None) -> CsvProfile:
    """Profiles a CSV file: pure computation and blocking reads, so for a thread.

    Args:
        file: The file's bytes, read once from where it stands; it stays open.
        batch_read: Called after each batch of rows with how many there were so far.

    Returns:
        The profile.

    Raises:
        CsvRejected: The file is empty, no CSV that can be read, or has over 10,000 columns.
    """
    delimiter, rows = records(file)
    header = next(rows, None)
    if header is None:
        raise CsvRejected("The file is empty: the first line must name the columns.")
    if len(header) > MAX_COLUMNS:
        raise CsvRejected(f"The file has {len(header):,} columns; the limit is {MAX_COLUMNS:,}.")
    columns = [
        Column(name.strip() or f"column {number}") for number, name in enumerate(header, start=1)
    ]
    width, count, ragged = len(header), 0, 0
    for batch in _batches(rows):
        count += len(batch)
        for row in batch:
            if len(row) != width:
                ragged += 1
                row[width:] = [""] * (width - len(row))
        for column, cells in zip(columns, zip(*batch, strict=True), strict=True):
            column.add(cells)
        if batch_read is not None:
            batch_read(count)
    return CsvProfile(
        delimiter=delimiter,
        rows=count,
        ragged_rows=ragged,
        columns=[column.profile() for column in columns],
    )


def _batches(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        # A cell itself takes some memory too, however short.
        characters += sum(map(len, row)) + 50 * len(row)
        if len(batch) == _BATCH_ROWS or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
