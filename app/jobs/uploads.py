"""A large file: `PUT /demo/files` stores it as it comes, the job `text_statistics` reads it in pieces."""

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from app.jobs.files import FileId, new_file, path_of, remove_file, written
from app.jobs.settings import EXAMPLES
from respond_async import (
    Identity,
    Problem,
    TaskError,
    create_task,
    current_identity,
    current_owner,
    task,
    update_progress,
)

__all__ = ["TextStatistics", "router", "text_statistics"]

_PIECE_BYTES: Final = 256 * 1024

router = APIRouter()


class Uploaded(BaseModel):
    """A file that is kept for its owner's jobs."""

    file: FileId
    bytes: int


class TextStatistics(BaseModel):
    """What `wc` and `sha256sum` say of a file."""

    bytes: int
    lines: int
    words: int
    sha256: str


@router.put("/files", status_code=201)
async def upload(request: Request, owner: Annotated[Identity, Depends(current_owner)]) -> Uploaded:
    """Keeps the body, of any type, for an hour; its size is the disk's matter, not memory's."""
    file = new_file()
    path, size = path_of(owner, file), 0
    # First: then a process that is killed in between leaves nothing behind for ever.
    await create_task(remove_file, path, delay=EXAMPLES.file_ttl_seconds)
    with written(path) as out:
        async for piece in request.stream():
            size += len(piece)
            if size > EXAMPLES.max_file_bytes:
                raise Problem(413, f"A file may have {EXAMPLES.max_file_bytes} bytes.")
            await asyncio.to_thread(out.write, piece)
    return Uploaded(file=file, bytes=size)


# Not `async def`: it computes, so it has a thread of its own, and a cancellation ends that.
@task(name="text_statistics", public=True)
def text_statistics(
    file: FileId, owner: Annotated[Identity, Depends(current_identity)]
) -> TextStatistics:
    """Counts an uploaded file's lines and words, and takes its checksum."""
    path = path_of(owner, file)
    if not path.exists():
        raise TaskError("no_such_file", "There is no such file, or no more: upload it again.")
    return statistics_of(path)


def statistics_of(path: Path) -> TextStatistics:
    """One pass, in pieces; words are what white space separates."""
    digest = hashlib.sha256()
    size, done, lines, words = path.stat().st_size, 0, 0, 0
    in_word = False
    with path.open("rb") as text:
        while piece := text.read(_PIECE_BYTES):
            digest.update(piece)
            lines += piece.count(b"\n")
            # A word that goes on from the piece before was counted there.
            words += len(piece.split()) - (in_word and not piece[:1].isspace())
            in_word = not piece[-1:].isspace()
            done += len(piece)
            update_progress(done, max(size, done), f"{lines:,} lines")
    return TextStatistics(bytes=done, lines=lines, words=words, sha256=digest.hexdigest())
