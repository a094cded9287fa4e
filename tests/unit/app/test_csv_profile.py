"""The CSV profile against hand-made files and, by hypothesis, against a simple reference."""

import contextlib
import csv
import io
import math
import statistics
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.demo import csv_profile, csv_records
from app.demo.column import Column, ColumnProfile
from app.demo.csv_profile import CsvProfile, profile
from app.demo.csv_records import CsvRejected

#: The first run on a machine makes hypothesis' tables of characters, which takes seconds.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def profiled(text: str | bytes) -> CsvProfile:
    return profile(io.BytesIO(text if isinstance(text, bytes) else text.encode()))


def one(*cells: str) -> ColumnProfile:
    column = Column("c")
    column.add(cells)
    return column.profile()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2", "+3"], ("integer", -2, 3, 2 / 3)),
        (["1", "2.5"], ("number", 1.0, 2.5, 1.75)),
        (["1e3", ".5", "2."], ("number", 0.5, 1000.0, 1002.5 / 3)),
        (["1" * 19], ("number", float("1" * 19), float("1" * 19), float("1" * 19))),
        (["00420", "1"], ("text", "00420", "1", None)),
        (["1e999"], ("text", "1e999", "1e999", None)),
        (["1,5"], ("text", "1,5", "1,5", None)),
        (["1_000"], ("text", "1_000", "1_000", None)),
        (["٣"], ("text", "٣", "٣", None)),
        (["yes", "FALSE", "True"], ("boolean", False, True, 2 / 3)),
        (["true", "1"], ("text", "1", "true", None)),
        (["2024-02-29", "2023-01-01"], ("date", "2023-01-01", "2024-02-29", None)),
        (["2023-02-29"], ("text", "2023-02-29", "2023-02-29", None)),
        (
            ["2024-01-01", "2023-12-31T23:30:00-01:00"],
            ("datetime", "2024-01-01", "2023-12-31T23:30:00-01:00", None),
        ),
        (["", " NA ", "null"], ("empty", None, None, None)),
        (["a" * 200, "b"], ("text", "a" * 100, "b", None)),
        (["1e308", "1e308", "-1e308"], ("number", -1e308, 1e308, None)),
    ],
)
def test_a_column_has_the_narrowest_type_that_fits_all_its_cells(
    cells: list[str], expected: tuple[Any, ...]
) -> None:
    made = one(*cells)
    found = (made.type, made.min, made.max, made.mean)
    if isinstance(expected[3], float):
        assert found[:3] == expected[:3]
        assert made.mean == pytest.approx(expected[3])
    else:
        assert found == expected
    assert type(made.min) is type(expected[1])


def test_missing_cells_are_counted_and_left_out_of_everything_else() -> None:
    made = one("", "5", "n/a", " ", "NaN", "7")
    assert (made.count, made.missing, made.type, made.mean) == (2, 4, "integer", 6)


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert profiled(b"\xef\xbb\xbfid,b\n1,2\n").columns[0].name == "id"


@pytest.mark.parametrize("delimiter", csv_records.DELIMITERS)
def test_the_delimiter_is_found(delimiter: str) -> None:
    made = profiled("name|of, it;x\ty\n".replace(delimiter, "") + "")
    assert made.columns  # a header alone is a file without rows
    rows = [["id", "note", "at"], ["1", "one, two; three", "x"], ["2", "", "y"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    made = profiled(out.getvalue())
    assert made.delimiter == delimiter
    assert [column.name for column in made.columns] == ["id", "note", "at"]


def test_quoted_fields_hold_delimiters_quotes_and_line_ends() -> None:
    made = profiled('a,b\r\n"x, ""y""\nz",1\r\n')
    assert made.rows == 1
    assert made.columns[0].min == 'x, "y"\nz'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_ending_ends_a_row_and_empty_lines_are_no_rows(end: str) -> None:
    made = profiled(end.join(["a,b", "1,2", "", "3,4", ""]))
    assert (made.rows, made.ragged_rows) == (2, 0)


def test_ragged_rows_are_counted_their_lacking_cells_missing_and_their_extra_ones_left_out() -> (
    None
):
    made = profiled("a,b\n1\n2,3\n4,5,six\n")
    assert (made.rows, made.ragged_rows) == (3, 2)
    assert [(column.count, column.missing) for column in made.columns] == [(3, 0), (2, 1)]


def test_a_column_without_a_name_is_called_by_its_place() -> None:
    assert [column.name for column in profiled("a,,a\n1,2,3\n").columns] == ["a", "column 2", "a"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        ("a,b\nMünchen,1\n".encode("latin-1"), "not UTF-8: byte 0xfc"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,\0\n", "Line 2 holds a NUL"),
        (b'a,b\n1,"never closed\n', "Line 2"),
        (b'a,b\n"x"y,1\n', "Line 2"),
        (b"a,b\n" + b"x" * csv_records.MAX_LINE_CHARACTERS + b"\n", "Line 2 is longer than"),
        (b"a,b\n" + b"x" * (csv_records.MAX_FIELD_CHARACTERS + 1) + b"\n", "Line 2: field larger"),
        (b",".join([b"c"] * (csv_profile.MAX_COLUMNS + 1)), "10,001 columns"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_csv_is_rejected_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(CsvRejected, match=reason):
        profiled(content)


def test_the_file_stays_open_whatever_happens() -> None:
    for content in (b"a\n1\n", b"\xff\xff"):
        file = io.BytesIO(content)
        with contextlib.suppress(CsvRejected):
            profile(file)
        assert not file.closed


def test_the_csv_of_a_profile_is_read_back_as_it_was() -> None:
    made = profiled('"a, ""b""",c\ntrue,\nno,\n')
    lines = list(csv.DictReader(io.StringIO(made.as_csv())))
    assert lines[0] == {
        "name": 'a, "b"',
        "type": "boolean",
        "count": "2",
        "missing": "0",
        "min": "false",
        "max": "true",
        "mean": "0.5",
    }
    assert lines[1]["type"] == "empty"
    assert lines[1]["mean"] == ""


def reference(cells: list[str]) -> dict[str, Any]:
    """The same definition, over all cells at once and with other means."""
    known = [
        cell.strip()
        for cell in cells
        if cell.strip().lower() not in ("", "na", "n/a", "null", "nan", "none")
    ]
    result: dict[str, Any] = {"count": len(known), "missing": len(cells) - len(known)}
    numbers = [number(cell) for cell in known]
    moments = [moment(cell) for cell in known]
    words = [cell.lower() for cell in known]
    if not known:
        return result | {"type": "empty", "min": None, "max": None, "mean": None}
    if set(words) <= {"true", "yes", "false", "no"}:
        truths = [word in ("true", "yes") for word in words]
        ends: dict[str, Any] = {"type": "boolean", "min": all(truths), "max": any(truths)}
        return result | ends | {"mean": truths.count(True) / len(truths)}
    if None not in numbers:
        values = [value for value in numbers if value is not None]
        whole = all(isinstance(value, int) for value in values)
        if not whole:
            values = list(map(float, values))
        ends = {"type": "integer" if whole else "number", "min": min(values), "max": max(values)}
        try:
            mean = statistics.fmean(values)
        except OverflowError:
            mean = math.nan
        return result | ends | {"mean": mean}
    if None not in moments:
        ordered = sorted(zip([at for at in moments if at is not None], known, strict=True))
        kind = "date" if all(len(cell) == 10 for cell in known) else "datetime"
        return result | {"type": kind, "min": ordered[0][1], "max": ordered[-1][1], "mean": None}
    ordered_text = sorted(known)
    return result | {
        "type": "text",
        "min": ordered_text[0][:100],
        "max": ordered_text[-1][:100],
        "mean": None,
    }


def number(cell: str) -> float | None:
    digits = cell.lstrip("+-")
    if not cell.isascii() or "_" in cell or len(cell) - len(digits) > 1 or cell.lower() == "inf":
        return None
    if digits[:1] == "0" and digits[1:2].isdigit():
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(cell) if digits.isdigit() and len(digits) <= 18 else value


def moment(cell: str) -> datetime | None:
    # Weeks, compact forms and lone hours are ISO 8601 too, but not what the definition takes.
    if len(cell) != 10 and (len(cell) < 16 or cell[10] not in "T " or cell[13] != ":"):
        return None
    if cell[4:5] != "-" or cell[7:8] != "-":
        return None
    try:
        read = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


CELLS = {
    "missing": st.sampled_from(["", " ", "NA", "n/a", "Null", "NaN", "none"]),
    "boolean": st.sampled_from(["true", "False", "YES", "no"]),
    "integer": st.integers(-(10**18) + 1, 10**18 - 1).map(str),
    "small": st.integers(-50, 50).map(lambda value: f"{value:+d}"),
    "number": st.floats(allow_nan=False).map(str),
    "date": st.dates().map(str),
    "datetime": st.datetimes(
        timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-11, minutes=-30))])
    ).map(lambda at: at.replace(second=0, microsecond=0).isoformat()),
    "postcode": st.from_regex(r"0[0-9]{1,5}", fullmatch=True),
    "text": st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=120),
}


@st.composite
def columns(draw: st.DrawFn) -> list[str]:
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2))
    return draw(st.lists(st.one_of(*[CELLS[kind] for kind in kinds]), max_size=12))


@patient
@given(columns(), st.integers(1, 5))
def test_a_profile_is_what_the_definition_says_however_its_rows_are_batched(
    cells: list[str], batch: int
) -> None:
    column = Column("c")
    for start in range(0, len(cells), batch):
        column.add(cells[start : start + batch])
    found = column.profile().model_dump(exclude={"name"})
    expected = reference(cells)
    mean, wanted = found.pop("mean"), expected.pop("mean")
    assert found == expected
    if wanted is None or mean is None:
        assert mean is wanted or not math.isfinite(wanted) or abs(wanted) > 1e300
    elif math.isfinite(wanted):
        largest = max(abs(found["min"]), abs(found["max"]))
        assert mean == pytest.approx(wanted, rel=1e-9, abs=largest * 1e-12)


FIELDS = st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=10)


@patient
@given(
    st.lists(st.lists(FIELDS, min_size=2, max_size=4), min_size=1, max_size=8),
    st.sampled_from(["\r\n", "\n"]),
)
def test_every_file_that_the_csv_module_writes_is_read_row_by_row(
    rows: list[list[str]], end: str
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    file = io.BytesIO(out.getvalue().encode())
    delimiter, found = csv_records.records(file)
    assert delimiter == ","
    assert list(found) == rows
    assert profiled(out.getvalue()).rows == len(rows) - 1


@patient
@given(st.binary(max_size=300))
def test_any_bytes_give_a_profile_or_a_reason(content: bytes) -> None:
    with contextlib.suppress(CsvRejected):
        made = profiled(content)
        assert CsvProfile.model_validate_json(made.model_dump_json()) == made
