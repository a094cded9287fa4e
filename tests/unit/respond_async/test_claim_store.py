import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from respond_async import BodyLostError, EnvelopeError, Settings, StoreUnavailableError
from respond_async.claim_store import FileClaims
from respond_async.claims import PIECE_BYTES, Claims


def claims(directory: Path) -> Claims:
    def no_redis() -> Any:
        raise AssertionError

    return Claims(Settings(claim_store=f"file://{directory}"), "body", no_redis)


async def _stored(kept: Claims, task_id: str, data: bytes, part: int = 700_000) -> Any:
    writer = kept.writer(task_id)
    for start in range(0, len(data), part):
        await writer.write(data[start : start + part])
    return await writer.finish()


async def _read(kept: Claims, task_id: str, claim: Any) -> bytes:
    return b"".join([piece async for piece in kept.pieces(task_id, claim)])


def test_a_body_comes_back_as_it_was_and_is_removed(tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE_BYTES + 5)

    async def run() -> None:
        kept = claims(tmp_path)
        claim = await _stored(kept, "id", data)
        assert (claim.size, claim.pieces) == (len(data), 4)
        kept.check("id", claim)
        assert await _read(kept, "id", claim) == data
        assert b"".join(kept.pieces_here("id", claim)) == data
        await kept.discard("id")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(BodyLostError):
            kept.check("id", claim)

    asyncio.run(run())


def test_a_piece_cannot_stand_for_another(tmp_path: Path) -> None:
    async def run() -> None:
        kept = claims(tmp_path)
        claim = await _stored(kept, "id", b"a" * PIECE_BYTES + b"b" * PIECE_BYTES)
        (folder,) = tmp_path.iterdir()
        (folder / "1").write_bytes((folder / "0").read_bytes())
        with pytest.raises(EnvelopeError, match="another's"):
            await _read(kept, "id", claim)

    asyncio.run(run())


def test_what_nobody_removed_ends_after_its_time_and_nothing_else_does(tmp_path: Path) -> None:
    store = FileClaims(tmp_path)
    store.write("body:orphan", 0, b"x", ttl_seconds=-1)
    store.write("body:waiting", 0, b"x", ttl_seconds=60)
    (tmp_path / "of-somebody-else").mkdir()
    os.utime(tmp_path / "of-somebody-else", (1, 1))
    FileClaims(tmp_path).write("body:new", 0, b"x", ttl_seconds=60)
    assert {path.name for path in tmp_path.iterdir()} == {
        "of-somebody-else", "respond_async-body:new", "respond_async-body:waiting",
    }  # fmt: skip
    assert (tmp_path / "respond_async-body:waiting").stat().st_mtime > time.time() + 50


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match="claim store"):
        asyncio.run(_stored(claims(tmp_path / "file"), "id", b"x"))


@pytest.mark.parametrize("value", ["disk", "file://", "s3://bucket", "file:relative"])
def test_another_store_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings(claim_store=value)
