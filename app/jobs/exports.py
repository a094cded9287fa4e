"""A table as a CSV or JSON file: the job `order_export` writes it, `GET /demo/exports` gives it."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from pydantic import BaseModel

from app.jobs.files import FileId, new_file, path_of, remove_file, written
from app.jobs.orders import make_orders, reading
from app.jobs.settings import EXAMPLES
from respond_async import (
    Identity,
    Problem,
    Status,
    current_identity,
    current_owner,
    get_task,
    task,
    update_progress,
)

__all__ = ["Export", "Format", "order_export", "router"]

_ROWS_AT_ONCE: Final = 2000

router = APIRouter()

Row = tuple[Any, ...]


class Format(StrEnum):
    """Of an export."""

    CSV = "csv"
    JSON = "json"


class Export(BaseModel):
    """A file that can be downloaded for a while."""

    file: FileId
    file_format: Format
    rows: int
    bytes: int


@task(name="order_export", public=True)
def order_export(
    owner: Annotated[Identity, Depends(current_identity)], file_format: Format = Format.CSV
) -> Export:
    """Writes all orders to a file, a few rows in memory at a time."""
    file = new_file()
    path = path_of(owner, file)
    # First: then a worker that is killed in between leaves nothing behind for ever.
    remove_file.apply_async((str(path),), countdown=EXAMPLES.file_ttl_seconds)
    database = EXAMPLES.directory / "orders.sqlite"
    if not database.exists():
        make_orders(database, EXAMPLES.orders)
    with reading(database) as connection, written(path) as out:
        rows = _written_rows(connection, out, file_format)
    return Export(file=file, file_format=file_format, rows=rows, bytes=path.stat().st_size)


def _written_rows(connection: sqlite3.Connection, out: BinaryIO, file_format: Format) -> int:
    (total,) = connection.execute("select count(*) from orders").fetchone()
    cursor = connection.execute("select * from orders order by id")
    names = [name for name, *_ in cursor.description]
    pieces = {Format.CSV: _csv, Format.JSON: _json}[file_format]
    done = 0

    def batches() -> Iterator[list[Row]]:
        nonlocal done
        while batch := cursor.fetchmany(_ROWS_AT_ONCE):
            yield batch
            done += len(batch)
            update_progress(done, total, f"{done:,} rows")

    out.writelines(piece.encode() for piece in pieces(names, batches()))
    return done


def _csv(names: Sequence[str], batches: Iterator[list[Row]]) -> Iterator[str]:
    """RFC 4180, with a header."""
    for batch in _with_header(names, batches):
        text = io.StringIO(newline="")
        csv.writer(text).writerows(batch)
        yield text.getvalue()


def _json(names: Sequence[str], batches: Iterator[list[Row]]) -> Iterator[str]:
    """One array of objects, a line each."""
    before = "[\n"
    for batch in batches:
        yield before + ",\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in batch)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _with_header(names: Sequence[str], batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield [tuple(names)]
    yield from batches


@router.get("/exports/{task_id}", response_class=FileResponse)
async def download(
    task_id: str, owner: Annotated[Identity, Depends(current_owner)]
) -> FileResponse:
    """The file of one's own export that has completed; 410 once it was removed."""
    job = await get_task(task_id)
    if job.channel != owner.channel or job.name != order_export.definition.name:
        raise Problem(404, "There is no such export, or no more.")
    if job.status is not Status.COMPLETED:
        raise Problem(409, f"The export is {job.status}.")
    export = Export.model_validate(job.result)
    path = path_of(owner, export.file)
    if not path.exists():
        raise Problem(410, "The file is no longer kept: make another export.")
    types = {Format.CSV: "text/csv; charset=utf-8; header=present", Format.JSON: "application/json"}
    return FileResponse(
        path, media_type=types[export.file_format], filename=f"orders.{export.file_format}"
    )
