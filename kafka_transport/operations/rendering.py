"""How the command shows things: tables for people, JSON for programs; the same figures in both."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kafka_transport.operations.survey import PartitionOffsets, QueueLag, TopicInfo

__all__ = ["Screen", "rows_of_lag", "rows_of_offsets", "rows_of_topics"]

#: Columns that a terminal's owner may have too few of; elsewhere nothing is cut.
WIDE: Final = 250

#: A row as JSON has it. What ends in `_seconds` or `_ms` is shown as a duration.
Row = dict[str, Any]


def rows_of_topics(found: Sequence[TopicInfo]) -> list[Row]:
    """One row a topic."""
    return [asdict(each) for each in found]


def rows_of_lag(found: Sequence[QueueLag]) -> list[Row]:
    """One row a queue."""
    return [asdict(each) for each in found]


def rows_of_offsets(found: Sequence[PartitionOffsets]) -> list[Row]:
    """One row a partition."""
    return [asdict(each) for each in found]


class Screen:
    """Where rows are shown, once or again and again."""

    def __init__(self, title: str, *, as_json: bool, color: bool, live: bool) -> None:
        self._title: Final = title
        self._as_json: Final = as_json
        console = Console(no_color=not color, highlight=False)
        if not console.is_terminal:
            console = Console(no_color=True, highlight=False, width=WIDE)
        self._console: Final = console
        redrawn = live and not as_json and console.is_terminal
        self._live: Final = Live(console=console, auto_refresh=False) if redrawn else None

    def show(self, rows: list[Row]) -> None:
        """Shows them; JSON is one document a line, so that a watcher can read line by line."""
        if self._as_json:
            print(json.dumps(rows), flush=True)  # noqa: T201  # not wrapped, as a console would
        elif self._live is not None:
            self._live.update(self._table(rows), refresh=True)
        else:
            self._console.print(self._table(rows))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _table(self, rows: list[Row]) -> Table | Text:
        if not rows:
            return Text(f"no {self._title}")
        table = Table(box=None, pad_edge=False)
        for name, value in rows[0].items():
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            header = name.removesuffix("_seconds").removesuffix("_ms").replace("_", " ").upper()
            table.add_column(
                header, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
            )
        for row in rows:
            table.add_row(*(Text(_cell(name, value)) for name, value in row.items()))
        return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_seconds"):
        return _duration(value)
    if name.endswith("_ms"):
        return "for ever" if value < 0 else _duration(value / 1000)
    if isinstance(value, bool):
        return "yes" if value else ""
    if name == "consumers":
        return ", ".join(f"{each['client_id']} at {each['host']}" for each in value) or "none"
    return str(value)


def _duration(seconds: float) -> str:
    for size, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g}{letter}"
    return f"{seconds:.3g}s"
