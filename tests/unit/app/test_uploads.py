"""Statistics of a file are those of its whole, wherever a piece of it ends."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.jobs import uploads


@given(text=st.text("ab \n\t").map(str.encode), piece=st.integers(1, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_make_no_difference(
    text: bytes, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_bytes(text)
    monkeypatch.setattr(uploads, "_PIECE_BYTES", piece)
    assert uploads.statistics_of(path) == uploads.TextStatistics(
        bytes=len(text),
        lines=text.count(b"\n"),
        words=len(text.split()),
        sha256=hashlib.sha256(text).hexdigest(),
    )
