"""Files of owners, shared by app and workers: whole or not there, removed after a while."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field

from app.jobs.settings import EXAMPLES
from respond_async import Identity, task

__all__ = ["FileId", "new_file", "path_of", "remove_file", "written"]

#: As `new_file` makes it: no path can be made of it.
FileId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def new_file() -> FileId:
    """The id of a file that is to be; have it removed before it is written, whatever comes then."""
    return uuid.uuid4().hex


def path_of(owner: Identity, file: FileId) -> Path:
    """Where an owner's file is; another's has no such id there."""
    return EXAMPLES.directory / hashlib.sha256(owner.channel.encode()).hexdigest() / file


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """The file, to be written; it is there once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = _part(path)
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@task(name="remove_file")
def remove_file(path: Path) -> None:
    """Removes a file, and what a killed process left of it; created with a delay."""
    path.unlink(missing_ok=True)
    _part(path).unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")
