"""The calls that the worker's main thread makes for the others."""

import fcntl
import os
import resource
import threading
from collections.abc import Iterator

import pytest

from respond_async.pool.notices import Notices

#: The first that select() does not take.
ABOVE = 1024


@pytest.fixture
def room_for_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * ABOVE)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("room_for_descriptors")
def test_its_thread_works_where_a_thousand_descriptors_are_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = os.pipe

    def high() -> tuple[int, int]:
        moved = []
        for each in pipe():
            moved.append(fcntl.fcntl(each, fcntl.F_DUPFD, ABOVE))
            os.close(each)
        return moved[0], moved[1]

    monkeypatch.setattr(os, "pipe", high)
    notices = Notices()
    assert notices.fileno() >= ABOVE
    called = threading.Event()
    notices.start_thread()
    notices.post(called.set)
    assert called.wait(10)
    notices.close()
