"""`POST /demo/csv-report` and `POST /demo/report`: a profile of an uploaded CSV file."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Response, UploadFile

from app.demo.csv_profile import CsvProfile, profile
from app.demo.csv_records import CsvRejected
from respond_async import CurrentProgress, Problem, require_async

__all__ = ["router"]

router = APIRouter()


class Format(StrEnum):
    """How a report is answered."""

    JSON = "json"
    CSV = "csv"


# Not `async def`: FastAPI runs it in a thread, so a file of any size leaves the event loop free.
@router.post("/csv-report", response_model=CsvProfile)
def csv_report(
    file: UploadFile,
    progress: CurrentProgress,
    report_format: Annotated[Format, Query(alias="format")] = Format.JSON,
) -> CsvProfile | Response:
    """Profiles each column of a CSV file: type, counts, missing values, min, max and mean.

    Answers JSON, or with `format=csv` a CSV file to download; 422 if the file is no CSV in UTF-8.
    """
    size = file.size or 1

    def batch_read(rows: int) -> None:
        progress.report(file.file.tell() / size, f"{rows:,} rows read")

    try:
        report = profile(file.file, batch_read)
    except CsvRejected as error:
        raise Problem(422, str(error)) from error
    if report_format is Format.JSON:
        return report
    return Response(
        report.as_csv(),
        media_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": _attachment(file.filename)},
    )


router.add_api_route(
    "/report",
    csv_report,
    methods=["POST"],
    response_model=CsvProfile,
    dependencies=[Depends(require_async)],
    summary="Csv Report, asynchronous only",
)


def _attachment(uploaded: str | None) -> str:
    """The download's name (RFC 6266): for old clients in ASCII, for others as it is (RFC 8187)."""
    name = f"{PurePosixPath(uploaded or 'file').stem}-report.csv"
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in "-_. ") else "_" for char in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
