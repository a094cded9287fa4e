"""From an uploaded file's bytes to CSV records, in bounded memory.

A CSV file here is RFC 4180 with what files in the wild add: a byte order mark, other delimiters
than the comma, any line ending. It is UTF-8; nothing is guessed where guessing loses data.
"""

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

__all__ = ["DELIMITERS", "MAX_FIELD_CHARACTERS", "MAX_LINE_CHARACTERS", "CsvRejected", "records"]

#: What may separate fields; in doubt the one named first.
DELIMITERS = (",", ";", "\t", "|")
#: The longest line and the longest field that are read; both bound the memory a file can take.
MAX_LINE_CHARACTERS = 1024 * 1024
MAX_FIELD_CHARACTERS = 128 * 1024
_SAMPLE_LINES = 50
_SAMPLE_RECORDS = 20

# The csv module's own limit is one for the process; this states its default.
csv.field_size_limit(MAX_FIELD_CHARACTERS)


class CsvRejected(Exception):
    """The file is no CSV that can be read: the message says why and where."""


def records(file: BinaryIO) -> tuple[str, Iterator[list[str]]]:
    """Reads a file as CSV, one record at a time.

    The delimiter is the one of `DELIMITERS` with which most of the first 20 records have as many
    fields as the first (two or more); among equals the one that gives more fields. Lines that are wholly empty
    are skipped.

    Args:
        file: The bytes, read from where the file stands; it stays open.

    Returns:
        The delimiter, and the records, each a list of fields.

    Raises:
        CsvRejected: At once or while iterating: no UTF-8, a NUL character, a line or field over
            the limit, a quote that is never closed.
    """
    lines = _lines(file)
    sample = list(itertools.islice(lines, _SAMPLE_LINES))
    delimiter = _delimiter(sample)
    return delimiter, _parsed(itertools.chain(sample, lines), delimiter)


def _lines(file: BinaryIO) -> Iterator[str]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    number = 0
    try:
        while line := text.readline(MAX_LINE_CHARACTERS):
            number += 1
            if len(line) == MAX_LINE_CHARACTERS and line[-1] not in "\r\n":
                raise CsvRejected(
                    f"Line {number} is longer than {MAX_LINE_CHARACTERS:,} characters."
                )
            if "\0" in line:
                raise CsvRejected(f"Line {number} holds a NUL character: the file is no text.")
            yield line
    except UnicodeDecodeError as error:
        # The decoder reads ahead in blocks, so the line is where it stood, not the exact place.
        wrong = error.object[error.start]
        raise CsvRejected(
            f"The file is not UTF-8: byte 0x{wrong:02x} after line {number}. Save it as UTF-8."
            if not error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            else "The file is UTF-16. Save it as UTF-8."
        ) from error
    finally:
        text.detach()


def _delimiter(sample: list[str]) -> str:
    def fitness(delimiter: str) -> tuple[float, int]:
        widths = _widths(sample, delimiter)
        if not widths or widths[0] == 1:
            return (0.0, 1)
        return (Counter(widths)[widths[0]] / len(widths), widths[0])

    return max(DELIMITERS, key=fitness)


def _widths(sample: list[str], delimiter: str) -> list[int]:
    """How many fields each of the first records has; nothing if one cannot be read."""
    reader = csv.reader(sample, delimiter=delimiter, strict=True)
    widths: list[int] = []
    try:
        for record in itertools.islice(filter(None, reader), _SAMPLE_RECORDS):
            widths.append(len(record))  # noqa: PERF401 - those before an error count
    except csv.Error:
        # At the sample's end a quoted field may only be cut off.
        return widths if reader.line_num == len(sample) else []
    return widths


def _parsed(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise CsvRejected(f"Line {reader.line_num}: {error}.") from error
